"""A real projector whose servers are stopped, killed, frozen and filled up."""

from __future__ import annotations

import os
import re
import resource
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal
from urllib.parse import urlsplit
from uuid import UUID

import pytest
from django.db import connections
from redis import Redis

from readmodels.live.broadcasts import UNDERWRITING, loan_request_group
from readmodels.models import LoanStatus
from readmodels.projections import PROJECTIONS
from tests.support.announcements import Told
from tests.support.broadcast_listener import Listener, listening
from tests.support.caught_up import (
    assert_each_event_was_committed_once,
    assert_nothing_is_left_over,
    wait_until_level,
)
from tests.support.commits import commits, keep_a_list_of_commits
from tests.support.event_store import RunningEventStore
from tests.support.fork_server import Forked, ForkServer
from tests.support.loans import append_a_loan_of_each_kind, append_requested_loan
from tests.support.management_commands import forks_for
from tests.support.processes import PATIENCE, wait_until
from tests.support.projectors import assert_read_models_tell_what_the_events_say
from tests.support.read_models import ReadModelsDatabase
from tests.support.stoppable_postgresql import StoppablePostgreSQL, stoppable_postgresql
from tests.support.valkey import RunningValkey, running_valkey

pytestmark = pytest.mark.usefixtures("event_store", "read_models")


# Probes and retries sooner than in production.
TUNING: Final = {
    "probe_after_idle_seconds": 1.0,
    "probe_timeout_seconds": 0.5,
    "grace_seconds": 0.5,
    "longest_retry_seconds": 0.5,
}

on_sqlite = pytest.mark.parametrize("read_models", ["sqlite"], indirect=True)
on_postgresql = pytest.mark.parametrize("read_models", ["postgresql"], indirect=True)


@pytest.fixture(scope="module")
def postgresql() -> Iterator[StoppablePostgreSQL]:
    """A server that may be stopped, instead of the one that all tests share."""
    with stoppable_postgresql() as server:
        yield server


@pytest.fixture(scope="module")
def postgresql_template() -> list[str]:
    """The names of template databases on that server; see `tests.conftest`."""
    return []


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[RunningValkey]:
    with running_valkey(tmp_path / "valkey") as valkey:
        yield valkey


@pytest.fixture
def forks(
    event_store: RunningEventStore,
    read_models: ReadModelsDatabase,
    valkey: RunningValkey,
    tmp_path: Path,
) -> Iterator[ForkServer]:
    """A server that starts commands, which use the servers of this test."""
    settings = "tests.impatient_settings"
    with forks_for(event_store, read_models, valkey.url, tmp_path, settings=settings) as forks:
        yield forks


@dataclass(frozen=True)
class Projector:
    """The projector of a test, and what it logs and `manage.py projections` says."""

    process: Forked
    forks: ForkServer
    read_models: ReadModelsDatabase

    def says(self, text: str) -> bool:
        """Whether it has logged this text after the name of each projection."""
        return all(f"{name} {text}" in self.process.output for name in PROJECTIONS)

    def wait_until_it_says(self, text: str) -> None:
        wait_until(lambda: self.says(text), what=f"it says: {text}")

    def wait_until_it_logs(self, text: str) -> None:
        wait_until(lambda: text in self.process.output, what=f"it logs: {text}")

    def status(self, *arguments: str) -> tuple[int, str]:
        """The exit status of `manage.py projections`, and what it prints."""
        command = self.forks.start("projections", *arguments)
        return command.wait(PATIENCE), command.output

    def states(self) -> dict[str, str]:
        """The state of each projection, as `manage.py projections` says."""
        _, output = self.status("--json")
        return dict(re.findall(r'"name": "(\w+)",\s+"state": "([\w ]+)"', output))

    def assert_it_is_as_if_nothing_had_happened(self) -> None:
        """It goes on by itself, and has applied each event once."""
        append_a_loan_of_each_kind()
        wait_until_level()
        assert_read_models_tell_what_the_events_say()
        assert_nothing_is_left_over(self.read_models.alias)
        assert_each_event_was_committed_once(commits(self.read_models.alias))
        assert self.states() == dict.fromkeys(PROJECTIONS, "level")
        assert self.process.stop() == 0
        assert "cannot handle" not in self.process.output
        assert "Traceback" not in self.process.output


@pytest.fixture
def projector(forks: ForkServer, read_models: ReadModelsDatabase) -> Projector:
    """A projector that is live."""
    append_a_loan_of_each_kind()
    keep_a_list_of_commits(read_models.alias)
    process = forks.start("project", settings={"PROJECTOR_TUNING": TUNING})
    projector = Projector(process, forks, read_models)
    projector.wait_until_it_says("is caught up at")
    wait_until_level()
    return projector


@pytest.fixture
def listener(valkey: RunningValkey) -> Iterator[Listener]:
    with listening(valkey.url) as listener:
        yield listener


class TestWhenTheEventStore:
    def test_is_killed_it_is_found_again(
        self, projector: Projector, event_store: RunningEventStore
    ) -> None:
        event_store.kill()
        projector.wait_until_it_says("lost the event store")
        status, output = projector.status()
        unknown = output.count("unknown, since the event store does not answer")
        assert (status, unknown) == (1, len(PROJECTIONS))

        event_store.restart()

        projector.wait_until_it_says("regained the event store")
        assert projector.process.output.count("lost the event store") == len(PROJECTIONS)
        projector.assert_it_is_as_if_nothing_had_happened()

    def test_is_frozen_that_is_noticed_and_it_is_found_again(
        self, projector: Projector, event_store: RunningEventStore
    ) -> None:
        with event_store.frozen():
            projector.wait_until_it_says("lost the event store")
            threads = threads_of(projector.process)
            status, output = projector.status()
            time.sleep(2)  # Several more attempts of each follower.
            # One that an attempt left behind would be one more for each attempt.
            assert threads_of(projector.process) <= threads + len(PROJECTIONS)
            assert "regained" not in projector.process.output
        unknown = output.count("unknown, since the event store does not answer")
        assert (status, unknown) == (1, len(PROJECTIONS))

        projector.wait_until_it_says("regained the event store")
        assert projector.process.output.count("lost the event store") == len(PROJECTIONS)
        projector.assert_it_is_as_if_nothing_had_happened()


@on_postgresql
class TestWhenPostgreSQL:
    @pytest.mark.parametrize("mode", ["fast", "immediate"])
    def test_is_stopped_it_is_found_again_and_what_came_meanwhile_is_told(
        self,
        projector: Projector,
        listener: Listener,
        postgresql: StoppablePostgreSQL,
        mode: Literal["fast", "immediate"],
    ) -> None:
        with postgresql.stopped(mode):
            loan = append_requested_loan(score=5).loan_request_id
            projector.wait_until_it_logs("Lost the database's locks")
            assert_the_database_does_not_answer(projector)
        projector.read_models.forget_connections()

        projector.wait_until_it_logs("Regained the database's locks")
        wait_until_level()
        assert_told(listener, loan)
        projector.assert_it_is_as_if_nothing_had_happened()

    def test_is_frozen_it_goes_on_afterwards(
        self, projector: Projector, listener: Listener, postgresql: StoppablePostgreSQL
    ) -> None:
        with postgresql.frozen():
            loan = append_requested_loan(score=5).loan_request_id
            projector.wait_until_it_logs("Lost the database's locks")
            assert_the_database_does_not_answer(projector)

        wait_until_level()
        assert_told(listener, loan)
        projector.assert_it_is_as_if_nothing_had_happened()

    def test_has_no_connection_left_it_waits_for_one(
        self, projector: Projector, postgresql: StoppablePostgreSQL
    ) -> None:
        projector.read_models.forget_connections()
        with postgresql.full():
            append_requested_loan(score=5)
            projector.wait_until_it_logs("Lost the database's locks")
            assert_the_database_does_not_answer(projector)

        projector.wait_until_it_logs("Regained the database's locks")
        projector.assert_it_is_as_if_nothing_had_happened()

    def test_has_a_full_disk_only_the_projection_that_needs_it_waits(
        self, projector: Projector
    ) -> None:
        with refusing_rows_as_if_the_disk_were_full(projector.read_models):
            loan = append_requested_loan(score=5)
            projector.wait_until_it_logs("loan_status lost the database (OperationalError)")
            wait_until(lambda: projector.states()["loan_requests"] == "level")
            assert projector.states()["loan_status"] == "behind"
            assert not LoanStatus.objects.filter(id=loan.loan_request_id).exists()

        projector.wait_until_it_logs("loan_status regained the database")
        projector.assert_it_is_as_if_nothing_had_happened()


@on_sqlite
class TestWhenSQLite:
    def test_cannot_grow_its_files_it_waits_for_room(
        self, projector: Projector, listener: Listener
    ) -> None:
        with files_no_longer_than(16_384, projector.process):
            loan = append_requested_loan(score=5).loan_request_id
            projector.wait_until_it_says("lost the database (OperationalError)")
            assert projector.states() == dict.fromkeys(PROJECTIONS, "behind")

        projector.wait_until_it_says("regained the database")
        wait_until_level()
        assert_told(listener, loan)
        projector.assert_it_is_as_if_nothing_had_happened()

    def test_is_locked_for_longer_than_it_is_waited_for_it_is_tried_again(
        self, projector: Projector
    ) -> None:
        with write_lock_held(projector.read_models):
            append_requested_loan(score=5)
            projector.wait_until_it_says("lost the database (OperationalError)")
            assert projector.states() == dict.fromkeys(PROJECTIONS, "behind")

        projector.wait_until_it_says("regained the database")
        projector.assert_it_is_as_if_nothing_had_happened()


class TestWhenValkey:
    def test_is_killed_rows_go_on_as_fast_as_ever_and_broadcasts_when_it_is_back(
        self, projector: Projector, valkey: RunningValkey
    ) -> None:
        before = seconds_until_rows_show_loans()
        kill(valkey)

        # Ten commits, none of which waits for the two seconds that a sending may take.
        assert seconds_until_rows_show_loans() < before + 10.0
        projector.wait_until_it_logs("Lost the channel layer")
        assert projector.states() == dict.fromkeys(PROJECTIONS, "level")

        valkey.restart()
        append_requested_loan()
        projector.wait_until_it_logs("Regained the channel layer")
        with listening(valkey.url) as listener:
            loan = append_requested_loan(score=5).loan_request_id
            wait_until_level()
            assert_told(listener, loan)
        assert projector.process.output.count("Lost the channel layer") == 1
        projector.assert_it_is_as_if_nothing_had_happened()


def threads_of(process: Forked) -> int:
    return len(list(Path(f"/proc/{process.pid}/task").iterdir()))


def kill(valkey: RunningValkey) -> None:
    """Kill the server with SIGKILL."""
    with closing(Redis.from_url(valkey.url)) as client:
        pid: int = client.info("server")["process_id"]
    os.kill(pid, signal.SIGKILL)


@contextmanager
def files_no_longer_than(size: int, process: Forked) -> Iterator[None]:
    """The process cannot write beyond so many bytes of a file, as if the disk were full."""
    limit = resource.RLIMIT_FSIZE
    before = resource.prlimit(process.pid, limit)
    resource.prlimit(process.pid, limit, (size, before[1]))
    try:
        yield
    finally:
        resource.prlimit(process.pid, limit, before)


@contextmanager
def write_lock_held(read_models: ReadModelsDatabase) -> Iterator[None]:
    """Another connection has the write lock of SQLite while the block runs."""
    with closing(sqlite3.connect(urlsplit(read_models.url).path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


@contextmanager
def refusing_rows_as_if_the_disk_were_full(read_models: ReadModelsDatabase) -> Iterator[None]:
    """A trigger refuses new rows in one table, with the error code of a full disk.

    A server's disk cannot be filled up for one test.
    """
    with connections[read_models.alias].cursor() as cursor:
        cursor.execute(
            "CREATE FUNCTION disk_full() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE 'could not extend file' USING ERRCODE = '53100'; END $$"
        )
        cursor.execute(
            "CREATE TRIGGER disk_full BEFORE INSERT ON readmodels_loanstatus "
            "EXECUTE FUNCTION disk_full()"
        )
        yield
        cursor.execute("DROP TRIGGER disk_full ON readmodels_loanstatus")


def seconds_until_rows_show_loans() -> float:
    """How long it takes until some loans show, each requested when the one before it shows."""
    began = time.monotonic()
    for _ in range(10):
        append_requested_loan(score=5)
        wait_until_level()
    return time.monotonic() - began


def assert_the_database_does_not_answer(projector: Projector) -> None:
    status, output = projector.status()
    assert "The database does not answer" in output
    assert "Traceback" not in output
    assert status == 1


def assert_told(listener: Listener, loan: UUID) -> None:
    """Wait until both groups that show a loan request were told of it."""

    def is_told() -> bool:
        told = {(group, id_) for _, group, id_ in Told(listener.all()).counts}
        return {(UNDERWRITING, loan), (loan_request_group(loan), loan)} <= told

    wait_until(is_told, what="it is told")
