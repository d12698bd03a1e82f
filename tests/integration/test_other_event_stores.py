"""Event stores that a command starts, for which the embedded one stands in here."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from esdbclient import EventStoreDBClient, NewEvent, StreamState
from esdbclient.exceptions import DeadlineExceeded

from tests.support.event_store import EventStoreDidNotStart
from tests.support.event_store_servers import CommandedEventStore
from tests.support.processes import PATIENCE, PROJECT, is_alive, is_free
from tests.support.replaced_stores import backed_up, replace_store

STREAM = "Test:1"
PYTHON = shlex.quote(sys.executable)
SERVER = f"{PYTHON} -m lepret.eventstore --data $2/events.sqlite3 --port $1"
# Replaced by the program, as a good script is, or its parent.
SCRIPTS = {"replaced": f"exec {SERVER}", "a parent": f"{SERVER} &\nwait"}


@pytest.fixture(params=SCRIPTS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[CommandedEventStore]:
    command = script(tmp_path, f"cd {shlex.quote(str(PROJECT))}\n{SCRIPTS[request.param]}")
    with CommandedEventStore(command, tmp_path / "a folder") as store:
        yield store


def script(folder: Path, text: str) -> str:
    """The command that runs a script with a port and a folder."""
    path = folder / "its script"
    path.write_text(f"{text}\n".replace("$2", '"$2"'))
    return f"sh {shlex.quote(str(path))} {{port}} {{folder}}"


def append(store: CommandedEventStore) -> None:
    with EventStoreDBClient(store.uri) as client:
        event = NewEvent(type="Tested", data=b"{}")
        client.append_to_stream(STREAM, current_version=StreamState.ANY, events=[event])


def count(store: CommandedEventStore) -> int:
    with EventStoreDBClient(store.uri) as client:
        return sum(1 for _ in client.read_all(timeout=PATIENCE))


def test_it_is_started_again_on_the_same_folder_and_port(store: CommandedEventStore) -> None:
    uri = store.uri
    append(store)
    store.restart()
    assert (store.uri, count(store)) == (uri, 1)
    append(store)
    store.crash()
    assert (store.uri, count(store)) == (uri, 2)


@pytest.mark.parametrize("end", [CommandedEventStore.stop, CommandedEventStore.kill])
def test_nothing_of_it_is_left(store: CommandedEventStore, end: object) -> None:
    assert callable(end)
    pids = store.pids
    assert pids
    end(store)
    assert not any(map(is_alive, pids))
    assert is_free(store.port)
    end(store)  # Nothing is left to end.


def test_all_of_it_is_frozen(store: CommandedEventStore) -> None:
    with EventStoreDBClient(store.uri) as client:
        with store.frozen(), pytest.raises(DeadlineExceeded):
            list(client.read_all(timeout=0.5))
        assert list(client.read_all(timeout=PATIENCE)) == []


def test_its_folder_is_put_back(store: CommandedEventStore) -> None:
    append(store)
    before = backed_up(store, "before")
    append(store)
    replace_store(store, before)
    assert count(store) == 1


class TestOneThatDoesNotStart:
    def test_because_it_ends_shows_what_it_printed(self, tmp_path: Path) -> None:
        command = script(tmp_path, "echo the folder is $2; exit 3")
        folder = tmp_path / "events"
        with pytest.raises(EventStoreDidNotStart, match=f"status 3; it .*\n.*{folder}"):
            CommandedEventStore(command, folder)

    def test_because_it_is_never_live_shows_what_it_printed_and_ends(self, tmp_path: Path) -> None:
        pid_file = tmp_path / "pid"
        command = script(tmp_path, f"echo on port $1\necho $$ > {pid_file}\nexec sleep 600")
        with pytest.raises(EventStoreDidNotStart, match=r"become_live; it printed:\non port \d+"):
            CommandedEventStore(command, tmp_path / "events", seconds_to_start=1)
        assert not is_alive(int(pid_file.read_text()))

    def test_because_there_is_no_such_program_says_so(self, tmp_path: Path) -> None:
        with pytest.raises(EventStoreDidNotStart, match="no-such-program"):
            CommandedEventStore("./no-such-program {port}", tmp_path / "events")
