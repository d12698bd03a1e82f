"""The log in its file, and group commits to it."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from esdbclient.protos.Grpc import streams_pb2

from lepret.eventstore.rpc import Refusal
from lepret.eventstore.storage.datafile import connect
from lepret.eventstore.storage.group_commit import GroupCommit
from lepret.eventstore.storage.log import PAGE_BYTES, PAGE_EVENTS, Log
from lepret.eventstore.storage.tail import Tail
from lepret.eventstore.writes import (
    Append,
    Appended,
    DeadlinePassed,
    Expectation,
    ProposedEvent,
    WrongExpectedVersion,
)
from tests.support.processes import PATIENCE

ANY = Expectation.ANY


def _event(size: int = 2, event_id: UUID | None = None, event_type: str = "T") -> ProposedEvent:
    return ProposedEvent(event_id or uuid4(), event_type, True, b"x" * size, b"")


def _append(stream: str = "s", events: int = 1, size: int = 2) -> Append:
    return Append(stream, ANY, tuple(_event(size) for _ in range(events)))


def test_a_new_log_holds_one_system_event_at_position_1(log: Log) -> None:
    (first,) = log.all_forwards(0, log.head)
    assert (first.position, first.revision) == (1, 0)
    assert first.type.startswith("$")


def test_appends_of_one_group_see_each_other(log: Log) -> None:
    group = [
        _append(),
        Append("s", Expectation.NO_STREAM, (_event(),)),
        Append("s", 0, (_event(),)),
    ]
    outcomes, records = log.append_all(group)
    assert outcomes == [Appended(0, 2), WrongExpectedVersion(0), Appended(1, 3)]
    assert [record.position for record in records] == [2, 3]


def test_a_retry_in_the_same_group_is_answered_like_the_first(log: Log) -> None:
    append = _append(events=2)
    outcomes, records = log.append_all([append, _append(), append])
    assert outcomes[2] == outcomes[0] == Appended(1, 3)
    assert len(records) == 3


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_mix_of_old_and_new_events_writes_nothing(log: Log, order: tuple[int, int]) -> None:
    old, new = _event(), _event()
    log.append_all([Append("s", ANY, (old,))])
    events = tuple((old, new)[n] for n in order)
    assert log.append_all([Append("s", ANY, events)]) == ([WrongExpectedVersion(0)], [])


def test_a_deadline_that_has_passed_writes_nothing(log: Log) -> None:
    append = Append("s", ANY, (_event(),), deadline=time.monotonic() - 1)
    assert log.append_all([append]) == ([DeadlinePassed()], [])
    assert not log.stream_exists("s")


def test_a_stored_response_is_the_message_that_clients_read(log: Log) -> None:
    before = time.time_ns() // 100
    event = ProposedEvent(uuid4(), "T", False, b"data", b"metadata")
    log.append_all([Append("s", ANY, (event,))])
    (record,) = log.stream_forwards("s", 0, log.head)
    read_event = streams_pb2.ReadResp.FromString(record.response).event
    recorded = read_event.event
    assert (recorded.id.string, recorded.data) == (str(event.id), b"data")
    assert recorded.custom_metadata == b"metadata"
    assert recorded.metadata["content-type"] == "application/octet-stream"
    assert before <= int(recorded.metadata["created"]) <= time.time_ns() // 100
    assert read_event.commit_position == recorded.commit_position == record.position


def test_pages_end_by_count_and_by_size(log: Log) -> None:
    log.append_all([_append("many", PAGE_EVENTS + 1)])
    log.append_all([_append("big", 5, PAGE_BYTES // 2)])
    assert len(log.stream_forwards("many", 0, log.head)) == PAGE_EVENTS
    assert len(log.stream_forwards("big", 0, log.head)) == 2


def test_an_answered_append_is_in_the_file(log: Log, tmp_path: Path) -> None:
    """Another process finds the event as soon as the append is answered."""

    async def scenario() -> None:
        commit = GroupCommit(log, Tail(log.head).publish)
        other = connect(tmp_path / "events.sqlite")
        for revision in range(5):
            outcome = await commit.append(_append())
            (last,) = other.execute("SELECT max(position) FROM events").fetchone()
            assert outcome == Appended(revision, last)
        other.close()
        commit.close()

    asyncio.run(scenario())


def test_a_commit_waits_for_the_disk(log: Log, tmp_path: Path) -> None:
    """Shown by settings: a test that kills the server cannot, since the page cache survives."""
    connection = connect(tmp_path / "events.sqlite", writable=True)
    synchronous = connection.execute("PRAGMA synchronous").fetchone()
    journal = connection.execute("PRAGMA journal_mode").fetchone()
    connection.close()
    assert (synchronous, journal) == ((2,), ("wal",)), "2 is FULL: every commit is synced"


def test_an_append_that_cannot_be_written_fails_alone(log: Log) -> None:
    """A lone surrogate has no UTF-8 form: SQLite cannot store it."""

    async def scenario() -> list[object]:
        tail = Tail(log.head)
        commit = GroupCommit(log, tail.publish)
        bad = Append("s", ANY, (_event(event_type="\ud800"),))
        appends = [_append("a"), bad, _append("b"), bad, _append("c")]
        try:
            async with asyncio.timeout(PATIENCE):
                answers = await asyncio.gather(
                    *(commit.append(append) for append in appends), return_exceptions=True
                )
        finally:
            commit.close()
        assert tail.head == log.head == 4
        return list(answers)

    answers = asyncio.run(scenario())
    assert [type(answer) for answer in answers] == [Appended, Refusal, Appended, Refusal, Appended]


def test_a_closed_group_commit_refuses(log: Log) -> None:
    async def scenario() -> None:
        commit = GroupCommit(log, Tail(log.head).publish)
        running = asyncio.create_task(commit.append(_append()))
        await asyncio.sleep(0)
        commit.close()
        assert await running == Appended(0, 2)
        with pytest.raises(Refusal):
            await commit.append(_append())

    asyncio.run(scenario())


def test_a_reopened_log_goes_on_where_it_ended(log: Log, tmp_path: Path) -> None:
    log.append_all([_append(events=3)])
    again = Log(tmp_path / "events.sqlite")
    assert again.head == 4
    assert again.append_all([_append()])[0] == [Appended(3, 5)]
    again.close()
