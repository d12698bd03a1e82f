"""Two nodes, each with a web server and a projector.

They share event store, main database and Valkey. The read models are in a SQLite file on each node,
or in one PostgreSQL for both.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import psycopg
import pytest

from readmodels.projections import PROJECTIONS
from tests.support.event_store import RunningEventStore, running_event_store
from tests.support.fork_server import Forked, ForkServer, fork_server
from tests.support.nodes import UNDERWRITER, Applied, Node, node
from tests.support.postgresql import RunningPostgreSQL
from tests.support.processes import wait_until
from tests.support.projectors import environment
from tests.support.read_models import ReadModelsDatabase
from tests.support.valkey import RunningValkey
from tests.support.web_servers import no_row, row, wait_for_frame

MAX_LAG_SECONDS: Final = 1
# It takes two seconds, and longer on a busy machine.
TAKES_OVER_WITHIN: Final = 10.0


@dataclass
class Nodes:
    """Two nodes, and the projector that runs on each."""

    a: Node
    b: Node
    read_models_urls: list[str]
    projectors: dict[str, Forked] = field(default_factory=dict)

    @property
    def both(self) -> list[Node]:
        return [self.a, self.b]

    def start_projector(self, on: Node) -> None:
        self.projectors[on.name] = on.start_projector()

    @contextmanager
    def projector_killed(self, on: Node) -> Iterator[None]:
        """Kill a node's projector, and start another at the end of the block."""
        self.projectors.pop(on.name).kill()
        try:
            yield
        finally:
            self.start_projector(on)

    def wait_until_level(self) -> None:
        """Until both web servers answer, and no read model is behind."""
        for each in self.both:
            each.wait_until_level()


class Surroundings:
    """What two nodes share."""

    def __init__(
        self, event_store: RunningEventStore, valkey: RunningValkey, directory: Path
    ) -> None:
        self._event_store = event_store
        self._valkey = valkey
        self._directory = directory

    def environment(self, read_models_url: str) -> dict[str, str]:
        """The variables of a node."""
        return environment(self._event_store, ReadModelsDatabase("readmodels", read_models_url)) | {
            "DATABASE_URL": f"sqlite:///{self._directory}/main.sqlite3",
            "REDIS_URL": self._valkey.url,
            "LEPRET_DATA_DIR": str(self._directory),
            "READYZ_MAX_LAG_SECONDS": str(MAX_LAG_SECONDS),
        }

    def output_dir(self, name: str) -> Path:
        directory = self._directory / name
        directory.mkdir()
        return directory


@pytest.fixture(scope="module")
def own_event_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningEventStore]:
    with running_event_store(tmp_path_factory.mktemp("events")) as store:
        yield store


@pytest.fixture(scope="module")
def nodes_with_files(
    own_event_store: RunningEventStore,
    shared_valkey: RunningValkey,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Nodes]:
    directory = tmp_path_factory.mktemp("nodes-with-files")
    around = Surroundings(own_event_store, shared_valkey, directory)
    urls = [f"sqlite:///{directory}/{name}.sqlite3" for name in ("a", "b")]
    with running_nodes(around, urls) as nodes:
        yield nodes


@pytest.fixture(scope="module")
def nodes_with_one_database(
    own_event_store: RunningEventStore,
    shared_valkey: RunningValkey,
    postgresql: RunningPostgreSQL,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Nodes]:
    directory = tmp_path_factory.mktemp("nodes-with-one-database")
    around = Surroundings(own_event_store, shared_valkey, directory)
    with running_nodes(around, [postgresql.new_database()]) as nodes:
        yield nodes


@contextmanager
def running_nodes(around: Surroundings, read_models_urls: list[str]) -> Iterator[Nodes]:
    """Two nodes with their projectors: level, and with an underwriter who can log in."""
    variables = [around.environment(url) for url in read_models_urls]
    with ExitStack() as stack:
        forks: list[ForkServer] = []
        for number, each in enumerate(variables):
            output_dir = around.output_dir(f"output-{number}")
            forks.append(stack.enter_context(fork_server(each, output_dir)))
        migrate(forks)
        a, b = (
            stack.enter_context(node(name, variables[index], forks[index]))
            for name, index in (("a", 0), ("b", -1))
        )
        nodes = Nodes(a, b, read_models_urls)
        for each_node in nodes.both:
            nodes.start_projector(each_node)
        nodes.wait_until_level()
        yield nodes


def migrate(forks: list[ForkServer]) -> None:
    for each in forks:
        run(each, "migrate", "--database", "readmodels", "-v0")
    run(forks[0], "migrate", "-v0")
    run(forks[0], "shell", "-v0", "-c", UNDERWRITER)


def run(forks: ForkServer, *arguments: str) -> None:
    command = forks.run(*arguments)
    assert command.status == 0, command.output


def assert_both_show_a_loan_and_its_decision(nodes: Nodes) -> None:
    """A loan is applied for on one node, decided on the other, and shown by both, also live."""
    with (
        nodes.a.underwriter() as on_a,
        nodes.b.underwriter() as on_b,
        on_a.queue() as queue_on_a,
        on_b.queue() as queue_on_b,
    ):
        loan = nodes.a.apply_for_review().loan
        for queue in (queue_on_a, queue_on_b):
            wait_for_frame(queue, row(loan))
        for each in nodes.both:
            each.wait_for(loan, "under_review")
            assert each.shows(loan, "Under review")
        assert on_a.sees(loan)
        assert on_b.sees(loan)

        on_b.approve(loan)

        for queue in (queue_on_a, queue_on_b):
            wait_for_frame(queue, no_row(loan))
        for each in nodes.both:
            each.wait_for(loan, "approved")
            assert each.shows(loan, "Approved")
        assert not on_a.sees(loan)
        assert not on_b.sees(loan)


class TestNodesWithAFileEach:
    def test_show_the_same_loan_and_the_same_decision(self, nodes_with_files: Nodes) -> None:
        assert_both_show_a_loan_and_its_decision(nodes_with_files)

    def test_without_a_projector_one_falls_behind_and_says_so_while_the_other_goes_on(
        self, nodes_with_files: Nodes
    ) -> None:
        nodes = nodes_with_files
        nodes.wait_until_level()

        with nodes.projector_killed(nodes.a):
            loan = nodes.a.apply_for_review().loan
            nodes.b.wait_for(loan, "under_review")

            wait_until(lambda: nodes.a.get("/readyz").status_code == 503)
            assert nodes.b.get("/readyz").status_code == 200
            before, after = nodes.a.lags(), nodes.a.lags()
            assert all(after[name] > before[name] > MAX_LAG_SECONDS for name in PROJECTIONS)
            assert {each["state"] for each in nodes.a.statuses().values()} == {"behind"}
            assert nodes.b.lags() == dict.fromkeys(PROJECTIONS, 0)
            assert not nodes.a.shows(loan, "Under review")

        wait_until(nodes.a.is_ready)
        assert nodes.a.status_of(loan) == "under_review"
        assert_both_show_a_loan_and_its_decision(nodes)


class TestNodesWithOneDatabase:
    def test_show_the_same_loan_and_the_same_decision(self, nodes_with_one_database: Nodes) -> None:
        assert_both_show_a_loan_and_its_decision(nodes_with_one_database)

    def test_go_on_when_a_projector_is_killed_and_the_other_takes_over(
        self, nodes_with_one_database: Nodes
    ) -> None:
        nodes = nodes_with_one_database
        for _ in range(3):
            wait_until(lambda: runs(nodes, nodes.a) and runs(nodes, nodes.b))
            with nodes.projector_killed(nodes.a):
                applied = nodes.b.apply_for_review()
                wait_until_applied(nodes, applied, TAKES_OVER_WITHIN)
                assert runs(nodes, nodes.b) == set(PROJECTIONS)
                for each in nodes.both:
                    assert each.status_of(applied.loan) == "under_review"
                    assert each.is_ready()

    def test_share_the_projections_again_when_it_is_back(
        self, nodes_with_one_database: Nodes
    ) -> None:
        nodes = nodes_with_one_database
        wait_until(lambda: runs(nodes, nodes.a) and runs(nodes, nodes.b))
        wait_until(
            lambda: runs(nodes, nodes.a) ^ runs(nodes, nodes.b) == set(PROJECTIONS),
            what="each is run by one of them",
        )
        assert_both_show_a_loan_and_its_decision(nodes)


def runs(nodes: Nodes, on: Node) -> set[str]:
    """The projections that the node's projector runs, as it says in its log."""
    lines = nodes.projectors[on.name].output.splitlines()
    return {
        name
        for name in PROJECTIONS
        if next(
            (
                line.endswith("is run here")
                for line in reversed(lines)
                if line.endswith((f" {name} is run here", f" {name} is left to another projector"))
            ),
            False,
        )
    }


def wait_until_applied(nodes: Nodes, applied: Applied, seconds: float) -> None:
    """Wait until each projection has applied the event of this application."""
    [url] = nodes.read_models_urls
    with psycopg.connect(url, autocommit=True) as connection:

        def is_applied() -> bool:
            rows = connection.execute("SELECT position FROM readmodels_checkpoint").fetchall()
            return all(position >= applied.position for (position,) in rows)

        wait_until(is_applied, seconds, every=0.01)
