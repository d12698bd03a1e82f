"""Writes to the log after checking the client's expectation."""

import sqlite3
import time
from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID, uuid4

from lepret.eventstore import messages
from lepret.eventstore.storage.records import NO_NAME, Record
from lepret.eventstore.storage.stream_metadata import (
    METADATA_TYPE,
    deleting_metadata,
    metadata_beginning_at,
    metastream_of,
)
from lepret.eventstore.storage.stream_state import TOMBSTONE_REVISION, TOMBSTONE_TYPE, StreamState
from lepret.eventstore.writes import (
    Append,
    Appended,
    DeadlinePassed,
    Delete,
    Expectation,
    Expected,
    Outcome,
    ProposedEvent,
    StreamDeleted,
    Tombstone,
    Write,
    WrongExpectedVersion,
)

_FIRST_POSITION = 1
"""For clients, position 0 is before any event."""


class _Place(NamedTuple):
    """Where and when an event was written; see the table in `datafile`."""

    revision: int
    position: int
    created: int


Written = tuple[Outcome, list[Record]]
"""The outcome, and the added records in order."""


class Writer:
    """Writes within transactions that `Log` begins and ends, one at a time."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.head = self._last_position()
        """The last event's position; None in an empty log."""

    def write(self, write: Write) -> Written:
        """Write, if the stream is as the client expects."""
        state = StreamState(self._connection, write.stream)
        match write:
            case Append():
                return self._append(write, state)
            case Delete():
                return self._delete(write, state)
            case Tombstone():
                return self._tombstone(write, state)

    def _append(self, append: Append, state: StreamState) -> Written:
        if append.deadline is not None and time.monotonic() >= append.deadline:
            return DeadlinePassed(), []
        answer = self._refuse_or_repeat(
            state, append.expected, [event.id for event in append.events]
        )
        if answer is not None:
            return answer, []
        deleted = _deleted(state)
        records = self._add_all(append, state)
        revision = records[-1].revision if append.events else state.last_revision
        appended = Appended(revision, records[-1].position)
        if deleted is not None:
            records += self._reopen(deleted)
        return appended, records

    def _delete(self, delete: Delete, state: StreamState) -> Written:
        if state.is_absent and not state.is_tombstoned:
            return WrongExpectedVersion(None), []
        answer = self._refuse_or_repeat(state, delete.expected, [uuid4()])
        if answer is not None:
            return answer, []
        (record,) = self._add_metadata(delete.stream, deleting_metadata())
        return Appended(state.last_revision, record.position), [record]

    def _tombstone(self, tombstone: Tombstone, state: StreamState) -> Written:
        event = ProposedEvent(uuid4(), TOMBSTONE_TYPE, is_json=False, data=b"", metadata=b"")
        answer = self._refuse_or_repeat(state, tombstone.expected, [event.id])
        if answer is not None:
            return answer, []
        (record,) = self._add(tombstone.stream, TOMBSTONE_REVISION, [event])
        return Appended(record.revision, record.position), [record]

    # Checking -----------------------------------------------------------------------

    def _refuse_or_repeat(
        self, state: StreamState, expected: Expected, ids: Sequence[UUID]
    ) -> Outcome | None:
        """The outcome if there is nothing to write; None if the expectation holds: write."""
        if state.is_tombstoned:
            return StreamDeleted()
        match expected:
            case Expectation.ANY:
                return self._repeat_under_any(state, ids)
            case Expectation.STREAM_EXISTS:
                return _missing(state) or self._repeat_under_any(state, ids)
            case Expectation.NO_STREAM:
                return self._repeat_of_new(state, ids)
            case int(revision):
                return self._mismatch_or_repeat(state, revision, ids)

    def _repeat_under_any(self, state: StreamState, ids: Sequence[UUID]) -> Outcome | None:
        """The original outcome if all ids are in the stream; a mix of old and new is refused."""
        found = [self._find(state.stream, event_id) for event_id in ids]
        known = [place for place in found if place is not None]
        if not known:
            return None
        if len(known) < len(found):
            return WrongExpectedVersion(state.last_revision)
        return _repeated(state, known[-1])

    def _repeat_of_new(self, state: StreamState, ids: Sequence[UUID]) -> Outcome | None:
        """A stream is new if it has no events, and again after it was deleted."""
        answer = self._mismatch_or_repeat(state, -1, ids)
        if not isinstance(answer, WrongExpectedVersion):
            return answer
        if state.is_deleted and ids:
            return self._repeat_under_any(state, ids)
        return self._mismatch_or_repeat(state, state.metadata.truncate_before - 1, ids) or answer

    def _mismatch_or_repeat(
        self, state: StreamState, expected: int, ids: Sequence[UUID]
    ) -> Outcome | None:
        """None if the revision matches; the original outcome if exactly these ids follow it."""
        current = state.last_revision
        if expected == (-1 if current is None else current):
            return None
        if current is None or expected > current or not ids:
            return WrongExpectedVersion(current)
        followers = self._connection.execute(
            "SELECT id, revision, position, created FROM events"
            " WHERE stream = ? AND revision > ? ORDER BY revision LIMIT ?",
            (state.stream, expected, len(ids)),
        ).fetchall()
        if [event_id.bytes for event_id in ids] != [row[0] for row in followers]:
            return WrongExpectedVersion(current)
        return _repeated(state, _Place(*followers[-1][1:]))

    def _find(self, stream: str, event_id: UUID) -> _Place | None:
        """Where the stream's event with this id is; None without one."""
        row = self._connection.execute(
            "SELECT revision, position, created FROM events WHERE id = ? AND stream = ?"
            " ORDER BY position LIMIT 1",
            (event_id.bytes, stream),
        ).fetchone()
        return None if row is None else _Place(*row)

    # Writing ------------------------------------------------------------------------

    def _add_all(self, append: Append, state: StreamState) -> list[Record]:
        """Insert the events; for none, an empty record, which takes a position of its own."""
        if append.events:
            return self._add(append.stream, state.next_revision, append.events)
        nothing = ProposedEvent(uuid4(), "", is_json=False, data=b"", metadata=b"")
        unnamed = StreamState(self._connection, NO_NAME)
        return self._add(unnamed.stream, unnamed.next_revision, [nothing])

    def _reopen(self, deleted: StreamState) -> list[Record]:
        """Make a deleted stream readable again, from the new event on."""
        metadata = metadata_beginning_at(deleted.raw_metadata or b"{}", deleted.next_revision)
        return self._add_metadata(deleted.stream, metadata)

    def _add_metadata(self, stream: str, data: bytes) -> list[Record]:
        metastream = StreamState(self._connection, metastream_of(stream))
        event = ProposedEvent(uuid4(), METADATA_TYPE, is_json=True, data=data, metadata=b"")
        return self._add(metastream.stream, metastream.next_revision, [event])

    def _add(self, stream: str, revision: int, events: Sequence[ProposedEvent]) -> list[Record]:
        """Insert the events, numbered from that revision."""
        created = time.time_ns() // 100
        position = self._next_position
        records = [
            Record(
                position + n,
                stream,
                revision + n,
                event.type,
                messages.event_response(event, stream, revision + n, position + n, created),
            )
            for n, event in enumerate(events)
        ]
        self._connection.executemany(
            "INSERT INTO events (position, stream, revision, type, frame, id, created)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                (*record, event.id.bytes, created)
                for record, event in zip(records, events, strict=True)
            ),
        )
        self.head = records[-1].position
        return records

    @property
    def _next_position(self) -> int:
        return _FIRST_POSITION if self.head is None else self.head + 1

    def _last_position(self) -> int | None:
        (position,) = self._connection.execute("SELECT max(position) FROM events").fetchone()
        return None if position is None else int(position)


def _repeated(state: StreamState, last: _Place) -> Appended:
    """The answer to events that were written before: without a position if the last is hidden."""
    first, oldest = state.bounds()
    is_hidden = last.revision < first or last.created < oldest
    return Appended(last.revision, None if is_hidden else last.position)


def _missing(state: StreamState) -> Outcome | None:
    """The outcome if the stream does not exist. Metadata alone count as a stream."""
    if state.is_deleted:
        return StreamDeleted()
    return WrongExpectedVersion(None) if state.is_absent else None


def _deleted(state: StreamState) -> StreamState | None:
    """The deleted stream that a write reopens: this one, or the one whose metadata it holds."""
    stream = state.original or state
    return stream if stream.is_deleted else None
