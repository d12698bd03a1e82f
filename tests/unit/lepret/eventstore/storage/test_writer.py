"""Outcomes of writes that differ from EventStoreDB's, or that no contract test covers."""

from __future__ import annotations

from uuid import uuid4

import pytest

from lepret.eventstore.storage.filters import everything, in_all
from lepret.eventstore.storage.log import Log
from lepret.eventstore.storage.stream_metadata import metastream_of
from lepret.eventstore.writes import (
    Append,
    Appended,
    Delete,
    Expectation,
    Outcome,
    ProposedEvent,
    Write,
    WrongExpectedVersion,
)

NO_STREAM = Expectation.NO_STREAM
EXISTS = Expectation.STREAM_EXISTS
ANY = Expectation.ANY


def _event(data: bytes = b"{}") -> ProposedEvent:
    return ProposedEvent(uuid4(), "T", is_json=True, data=data, metadata=b"")


def _write(log: Log, write: Write) -> Outcome:
    ((outcome,), _) = log.append_all([write])
    return outcome


def test_a_retry_that_reopened_a_stream_gets_the_first_answer(log: Log) -> None:
    _write(log, Append("s", NO_STREAM, (_event(), _event())))
    _write(log, Delete("s", EXISTS))
    anew = Append("s", NO_STREAM, (_event(), _event()))
    first = _write(log, anew)
    assert isinstance(first, Appended)
    assert first.revision == 3
    assert _write(log, anew) == first
    assert _write(log, Append("s", NO_STREAM, (_event(),))) == WrongExpectedVersion(3)


def test_so_does_a_retry_after_another_deletion_but_without_a_position(log: Log) -> None:
    _write(log, Append("s", NO_STREAM, (_event(),)))
    _write(log, Delete("s", EXISTS))
    anew = Append("s", NO_STREAM, (_event(),))
    _write(log, anew)
    _write(log, Delete("s", EXISTS))
    assert _write(log, anew) == Appended(1, None)
    assert not log.stream_exists("s")


@pytest.mark.parametrize("expected", [NO_STREAM, ANY])
def test_new_events_before_an_old_one_are_refused(log: Log, expected: Expectation) -> None:
    old = _event()
    _write(log, Append("s", NO_STREAM, (old,)))
    _write(log, Delete("s", EXISTS))
    assert _write(log, Append("s", expected, (_event(), old))) == WrongExpectedVersion(0)


@pytest.mark.parametrize("metadata", [b'{"$tb": 1}', b'{"$maxCount": 1}'])
def test_a_retry_of_what_is_hidden_gets_no_position(log: Log, metadata: bytes) -> None:
    hidden = Append("s", NO_STREAM, (_event(),))
    _write(log, hidden)
    _write(log, Append("s", ANY, (_event(),)))
    _write(log, Append(metastream_of("s"), ANY, (_event(metadata),)))
    assert _write(log, hidden) == Appended(0, None)


class TestNoEvents:
    @pytest.mark.parametrize("expected", [NO_STREAM, ANY])
    def test_take_a_position_that_nobody_reads(self, log: Log, expected: Expectation) -> None:
        before = log.head
        assert _write(log, Append("s", expected, ())) == Appended(None, before + 1)
        assert log.head == before + 1
        page = log.all_forwards(log.head, log.head)
        assert not list(filter(in_all(everything), page))
        assert not log.stream_exists("s")

    def test_do_not_begin_a_stream(self, log: Log) -> None:
        _write(log, Append("s", NO_STREAM, ()))
        assert _write(log, Append("s", 0, (_event(),))) == WrongExpectedVersion(None)
        assert _write(log, Append("s", NO_STREAM, (_event(),))) == Appended(0, log.head)

    @pytest.mark.parametrize("expected", [0, ANY])
    def test_reopen_a_deleted_stream(self, log: Log, expected: Expectation | int) -> None:
        _write(log, Append("s", NO_STREAM, (_event(),)))
        _write(log, Delete("s", EXISTS))
        assert _write(log, Append("s", NO_STREAM, ())) == WrongExpectedVersion(0)
        assert not log.stream_exists("s")
        assert isinstance(_write(log, Append("s", expected, ())), Appended)
        assert log.stream_exists("s")
        assert log.stream_forwards("s", 0, log.head) == []


def test_metadata_that_are_not_json_are_ignored(log: Log) -> None:
    _write(log, Append("s", NO_STREAM, (_event(), _event())))
    binary = ProposedEvent(uuid4(), "$metadata", is_json=False, data=b'{"$tb": 1}', metadata=b"")
    _write(log, Append(metastream_of("s"), ANY, (binary,)))
    assert len(log.stream_forwards("s", 0, log.head)) == 2


def test_invalid_metadata_do_not_bring_deleted_events_back(log: Log) -> None:
    _write(log, Append("s", NO_STREAM, (_event(),)))
    _write(log, Delete("s", EXISTS))
    _write(log, Append(metastream_of("s"), ANY, (_event(b"no JSON"),)))
    assert log.stream_exists("s")
    assert log.stream_forwards("s", 0, log.head) == []
