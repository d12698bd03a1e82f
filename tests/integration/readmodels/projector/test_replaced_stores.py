"""A real projector whose event store goes back to an older state, or is replaced by another one."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
from django.test import Client
from esdbclient import NewEvent, StreamState
from pytest_django import Settings

from lepret.common.event_store_client import event_store_client
from readmodels.live.positions import has_reached
from readmodels.models import Checkpoint
from readmodels.projections import PROJECTIONS
from tests.support.caught_up import assert_nothing_is_left_over, positions, wait_until_level
from tests.support.event_store import RunningEventStore
from tests.support.fork_server import Forked, ForkServer
from tests.support.loans import append_a_loan_of_each_kind, append_event
from tests.support.management_commands import forks_for
from tests.support.processes import PATIENCE, wait_until
from tests.support.projectors import (
    STATUS,
    assert_read_models_tell_what_the_events_say,
    catch_up,
    following,
    interrupted,
    rebuild,
    rows,
)
from tests.support.read_models import ReadModelsDatabase
from tests.support.replaced_stores import backed_up, replace_store

pytestmark = pytest.mark.usefixtures("event_store", "read_models")

OTHER_HISTORY: Final = "the event store has another history than the rows"

# Looks, probes and retries sooner than in production.
TUNING: Final = {
    "stopped_poll_seconds": 0.1,
    "longest_retry_seconds": 0.5,
    "probe_after_idle_seconds": 1.0,
}

on_sqlite = pytest.mark.parametrize("read_models", ["sqlite"], indirect=True)


@pytest.fixture
def forks(
    event_store: RunningEventStore, read_models: ReadModelsDatabase, tmp_path: Path
) -> Iterator[ForkServer]:
    """A server that starts commands, which use the servers of this test."""
    nowhere = "redis://127.0.0.1:1/0"
    settings = "tests.impatient_settings"
    with forks_for(event_store, read_models, nowhere, tmp_path, settings=settings) as forks:
        yield forks


@dataclass(frozen=True)
class Stores:
    """The event store of a test, and what it may be replaced by."""

    running: RunningEventStore
    older: Path
    lived: Path
    end_of_older: int

    def replace(self, by: Path | None) -> None:
        replace_store(self.running, by)
        event_store_client().get_commit_position(timeout=PATIENCE)  # Which connects again.

    def grown(self, *, kinds: int, from_: Path | None) -> Path:
        """A store that begins as `from_`, or empty, and has had so many more loans."""
        self.replace(from_)
        for _ in range(kinds):
            append_a_loan_of_each_kind()
        grown = backed_up(self.running, f"grown-{kinds}")
        self.replace(self.lived)
        return grown


@pytest.fixture
def stores(event_store: RunningEventStore) -> Stores:
    """A store that has gone on since it was backed up."""
    end = append_a_loan_of_each_kind().position
    older = backed_up(event_store, "older")
    append_a_loan_of_each_kind()
    append_a_loan_of_each_kind()
    return Stores(event_store, older, backed_up(event_store, "lived"), end)


REPLACEMENTS: Final[dict[str, Callable[[Stores], Path | None]]] = {
    "an older state": lambda stores: stores.older,
    "an older state, grown to the same length": lambda stores: stores.grown(
        kinds=2, from_=stores.older
    ),
    "an older state, grown longer": lambda stores: stores.grown(kinds=4, from_=stores.older),
    "another store": lambda stores: stores.grown(kinds=5, from_=None),
    "an empty store": lambda stores: None,
}


def start_projector(forks: ForkServer) -> Forked:
    return forks.start("project", settings={"PROJECTOR_TUNING": TUNING})


def wait_until_it_says(projector: Forked, text: str, times: int = 1) -> None:
    """Wait until it has logged this text about each projection."""

    def says(name: str) -> bool:
        return len(re.findall(f" {name}:? {re.escape(text)}", projector.output)) >= times

    wait_until(lambda: all(map(says, PROJECTIONS)), what=f"it says: {text}")


def status(forks: ForkServer) -> tuple[int, dict[str, str], str]:
    """The exit status of `manage.py projections`, the state of each, and all that it prints."""
    command = forks.run("projections", "--json")
    states = dict(re.findall(r'"name": "(\w+)",\s+"state": "([\w ]+)"', command.output))
    assert command.status is not None
    return command.status, states, command.output


def assert_lost(forks: ForkServer) -> None:
    exit_status, states, output = status(forks)
    assert exit_status == 1
    assert states == dict.fromkeys(PROJECTIONS, "store replaced")
    assert output.count("the event store went back, or is another one") == len(PROJECTIONS)


def assert_level(forks: ForkServer) -> None:
    exit_status, states, _ = status(forks)
    assert (exit_status, states) == (0, dict.fromkeys(PROJECTIONS, "level"))


def assert_one_command_mends_it(
    forks: ForkServer, projector: Forked, read_models: ReadModelsDatabase
) -> None:
    """All goes on after a rebuild, in the projector that runs."""
    rebuild = forks.run("rebuild")
    assert rebuild.status == 0, rebuild.output
    append_a_loan_of_each_kind()
    wait_until_level()
    assert_read_models_tell_what_the_events_say()
    assert_nothing_is_left_over(read_models.alias)
    wait_until(lambda: not Checkpoint.objects.filter(store_replaced=True).exists())
    assert_level(forks)
    assert projector.stop() == 0
    assert "Traceback" not in projector.output


class TestAStoreThatWasReplaced:
    @pytest.mark.parametrize("replacement", REPLACEMENTS)
    def test_while_the_projector_runs(
        self, stores: Stores, forks: ForkServer, read_models: ReadModelsDatabase, replacement: str
    ) -> None:
        other = REPLACEMENTS[replacement](stores)
        projector = start_projector(forks)
        wait_until_it_says(projector, "is caught up at")
        before = rows(), positions()

        stores.replace(other)

        wait_until_it_says(projector, OTHER_HISTORY)
        append_a_loan_of_each_kind()
        assert_lost(forks)
        assert (rows(), positions()) == before
        assert projector.output.count(OTHER_HISTORY) == len(PROJECTIONS)
        assert_one_command_mends_it(forks, projector, read_models)

    @on_sqlite
    def test_before_the_projector_starts(
        self, stores: Stores, forks: ForkServer, read_models: ReadModelsDatabase
    ) -> None:
        catch_up()
        before = rows(), positions()

        stores.replace(stores.grown(kinds=4, from_=stores.older))

        assert_lost(forks)  # Also before anybody has tried to go on.
        once = forks.run("project", "--once")
        assert once.status == 1
        assert "The event store went back, or is another one; nothing was changed." in once.output
        projector = start_projector(forks)
        wait_until_it_says(projector, OTHER_HISTORY)
        assert_lost(forks)
        assert (rows(), positions()) == before
        assert_one_command_mends_it(forks, projector, read_models)


@on_sqlite
def test_a_rebuild_that_was_interrupted_before_the_store_went_back_begins_anew(
    stores: Stores, forks: ForkServer, read_models: ReadModelsDatabase
) -> None:
    catch_up()
    # Beyond the end of what both histories have in common.
    while (position := interrupted(STATUS)) <= stores.end_of_older:
        pass
    assert position < Checkpoint.objects.get(name=STATUS.name).position
    other = stores.grown(kinds=4, from_=stores.older)
    projector = start_projector(forks)
    wait_until_it_says(projector, "is caught up at")

    stores.replace(other)

    wait_until_it_says(projector, OTHER_HISTORY)
    assert_one_command_mends_it(forks, projector, read_models)


@on_sqlite
def test_when_the_right_store_is_back_the_projector_goes_on_by_itself(
    stores: Stores, forks: ForkServer
) -> None:
    projector = start_projector(forks)
    wait_until_it_says(projector, "is caught up at")
    stores.replace(None)
    wait_until_it_says(projector, OTHER_HISTORY)

    stores.replace(stores.lived)

    append_a_loan_of_each_kind()
    wait_until_level()
    wait_until(lambda: status(forks)[0] == 0)
    assert_level(forks)
    assert_read_models_tell_what_the_events_say()
    assert projector.stop() == 0


@on_sqlite
def test_a_scavenge_of_the_last_event_that_was_applied_is_no_other_store(
    event_store: RunningEventStore, forks: ForkServer
) -> None:
    append_a_loan_of_each_kind()
    append_event("SomethingHappened", times=2)
    stream = next(iter(event_store_client().read_all(backwards=True, limit=1))).stream_name
    catch_up()
    event = NewEvent(type="SomethingHappened", data=b"{}")
    event_store_client().append_to_stream(
        stream, current_version=StreamState.ANY, events=[event, event]
    )
    event_store_client().tombstone_stream(stream, current_version=StreamState.ANY)
    event_store.scavenge()

    projector = start_projector(forks)

    wait_until_it_says(projector, "is caught up at")
    append_a_loan_of_each_kind()
    wait_until_level()
    assert_level(forks)
    assert projector.stop() == 0
    assert OTHER_HISTORY not in projector.output


@on_sqlite
def test_an_older_version_of_the_program_may_have_moved_the_checkpoint(
    stores: Stores, forks: ForkServer
) -> None:
    """Then only the event's time is known."""
    catch_up()
    Checkpoint.objects.update(event_position=None, event_id=None, event_revision=None)
    assert_level(forks)
    stores.replace(stores.grown(kinds=4, from_=stores.older))
    assert_lost(forks)


@on_sqlite
@pytest.mark.django_db
@pytest.mark.usefixtures("channel_layer")
class TestAWebServer:
    @pytest.fixture(autouse=True)
    def _lost(self, read_models: ReadModelsDatabase, stores: Stores) -> None:
        """The read models are those of another store."""
        catch_up()
        stores.replace(stores.grown(kinds=4, from_=stores.older))

    def test_is_not_ready_where_it_must_not_be_behind(
        self, client: Client, settings: Settings
    ) -> None:
        ready = client.get("/readyz").json()["projections"]
        assert {each["state"] for each in ready.values()} == {"store replaced"}
        assert {each["lag_seconds"] for each in ready.values()} == {None}

        settings.READYZ_MAX_LAG_SECONDS = 60.0
        wait_until(lambda: client.get("/readyz").status_code == 503)

    def test_says_so_in_its_metrics(self, client: Client) -> None:
        metrics = client.get("/metrics").content.decode()
        assert 'lepret_projection_stopped{name="loan_status"} 1.0' in metrics
        assert 'lepret_projection_lag_seconds{name="loan_status"}' not in metrics
        assert "lepret_projections_up 1.0" in metrics

    def test_says_so_in_the_back_office(self, admin_client: Client) -> None:
        page = admin_client.get("/admin/readmodels/checkpoint/").content.decode()
        assert page.count("store replaced") == len(PROJECTIONS)
        assert "the event store went back, or is another one" in page

    def test_does_not_take_a_position_in_this_store_for_reached(self, stores: Stores) -> None:
        position = stores.end_of_older
        with following(STATUS):
            wait_until(lambda: not has_reached(STATUS.name, position))
            rebuild(STATUS)
            wait_until(lambda: has_reached(STATUS.name, position))
