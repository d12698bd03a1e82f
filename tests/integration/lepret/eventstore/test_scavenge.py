"""Scavenging: hidden events free their space, and nothing else changes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from esdbclient import EventStoreDBClient, NewEvent
from esdbclient.exceptions import NotFound, StreamIsDeleted

from lepret.eventstore.scavenge import main, scavenge_file
from tests.integration.lepret.eventstore.events import (
    ANY,
    NO_STREAM,
    append,
    commit_position,
    new_events,
)
from tests.support.event_store import EmbeddedEventStore
from tests.support.processes import PATIENCE, PROJECT


def _fill(client: EventStoreDBClient) -> None:
    for stream in ("kept", "counted", "truncated", "aged", "deleted", "reborn", "ended"):
        append(client, stream, new_events(10), NO_STREAM)
    client.set_stream_metadata("counted", metadata={"$maxCount": 3})
    client.set_stream_metadata("counted", metadata={"$maxCount": 2})
    client.set_stream_metadata("truncated", metadata={"$tb": 20})
    client.set_stream_metadata("aged", metadata={"$maxAge": 1_000_000})
    client.delete_stream("deleted", current_version=ANY)
    client.delete_stream("reborn", current_version=ANY)
    append(client, "reborn", new_events(2))
    client.tombstone_stream("ended", current_version=ANY)


def _in_all(client: EventStoreDBClient) -> dict[str, list[int]]:
    """The revisions of each stream that are still in the log."""
    revisions: dict[str, list[int]] = {}
    for event in client.read_all(filter_exclude=()):
        revisions.setdefault(event.stream_name, []).append(event.stream_position)
    return revisions


def test_removes_what_appends_of_no_events_have_left_but_the_last_position(
    store: EmbeddedEventStore,
) -> None:
    with EventStoreDBClient(store.uri) as client:
        append(client, "s", new_events(1))
        last = [append(client, "s", []) for _ in range(3)][-1]
    store.stop()
    assert scavenge_file(store.data).events == 2
    store.restart()
    with EventStoreDBClient(store.uri) as client:
        assert append(client, "s", new_events(1)) == last + 1
        assert _in_all(client)["s"] == [0, 1]


def test_removes_hidden_events_but_no_streams_last_event(store: EmbeddedEventStore) -> None:
    with EventStoreDBClient(store.uri) as client:
        _fill(client)
    store.stop()
    command = [sys.executable, "-m", "lepret.eventstore.scavenge", "--data", str(store.data)]
    ended = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith("removed 48 events, gave back ")
    store.restart()
    with EventStoreDBClient(store.uri) as client:
        left = _in_all(client)
        assert left.pop("$$$scavenges") == [0]
        assert left == {
            "kept": list(range(10)),
            "counted": [8, 9],
            "$$counted": [1],
            "truncated": [9],
            "$$truncated": [0],
            "aged": list(range(10)),
            "$$aged": [0],
            "deleted": [9],
            "$$deleted": [0],
            "reborn": [10, 11],
            "$$reborn": [1],
            "ended": [2**63 - 1],
        }


def test_reads_and_appends_go_on_as_before(store: EmbeddedEventStore) -> None:
    with EventStoreDBClient(store.uri) as client:
        _fill(client)
        head = client.get_commit_position(filter_exclude=())
    store.stop()
    scavenge_file(store.data)
    store.restart()
    with EventStoreDBClient(store.uri) as client:
        assert client.get_commit_position(filter_exclude=()) == head
        assert [e.stream_position for e in client.get_stream("counted")] == [8, 9]
        assert client.get_stream("truncated") == ()
        with pytest.raises(NotFound):
            client.get_stream("deleted")
        with pytest.raises(StreamIsDeleted):
            client.get_stream("ended")
        assert append(client, "deleted", new_events(1), NO_STREAM) == head + 1
        assert [e.stream_position for e in client.get_stream("deleted")] == [10]
        with client.subscribe_to_all(filter_exclude=(), timeout=PATIENCE) as subscription:
            seen = [commit_position(next(subscription)) for _ in range(len(_log(client)))]
        assert seen == _log(client)


def _log(client: EventStoreDBClient) -> list[int]:
    return [commit_position(event) for event in client.read_all(filter_exclude=())]


def test_the_file_gets_smaller(store: EmbeddedEventStore) -> None:
    with EventStoreDBClient(store.uri) as client:
        for _ in range(8):
            data = json.dumps({"text": "x" * 100_000}).encode()
            append(client, "big", [NewEvent(type="Big", data=data) for _ in range(8)])
        client.set_stream_metadata("big", metadata={"$maxCount": 1})
    store.stop()
    before = store.data.stat().st_size
    scavenge_file(store.data)
    assert store.data.stat().st_size < before / 10


@pytest.mark.parametrize("what", ["absent", "foreign", "in use"])
def test_refusals_are_one_line(
    store: EmbeddedEventStore, tmp_path: Path, what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    data = {"absent": tmp_path / "absent", "foreign": tmp_path / "foreign", "in use": store.data}
    (tmp_path / "foreign").write_text("something else")
    assert main(["--data", str(data[what])]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert len(printed.err.splitlines()) == 1
    assert str(data[what]) in printed.err
    assert (tmp_path / "foreign").read_text() == "something else"
    assert not (tmp_path / "absent").exists()
