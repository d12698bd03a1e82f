"""The log: every event in the order of its position, in one SQLite file.

Positions and, within a stream, revisions are whole numbers without gaps. An event is
kept as the very message that reads send, so that serving it needs no parsing; beside it
stand the columns that reads and filters look at.
"""

import sqlite3
import threading
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

from lepret.eventstore import messages
from lepret.eventstore.appends import (
    Append,
    Appended,
    DeadlinePassed,
    Expectation,
    Outcome,
    ProposedEvent,
    WrongExpectedVersion,
)
from lepret.eventstore.datafile import connect

PAGE_EVENTS = 512
PAGE_BYTES = 1024 * 1024
"""A page of history ends at whichever of the two it reaches first."""

MAX_REVISION = 2**63 - 1
"""The largest number that SQLite stores; the protocol's numbers go beyond it."""

_FIRST_EVENT = ProposedEvent(
    id=UUID("6c657072-0000-4000-8000-000000000000"),
    type="$metadata",
    is_json=True,
    data=b'{"$maxAge":2592000}',
    metadata=b"",
)
_FIRST_STREAM = "$$$scavenges"


class Record(NamedTuple):
    """A stored event: what filters look at, and the message to send."""

    position: int
    stream: str
    revision: int
    type: str
    frame: bytes


class Log:
    """The log in its file. One thread may append; any number may read."""

    def __init__(self, path: Path) -> None:
        """Open a file that `datafile` has prepared. Raises sqlite3.Error."""
        self._path = path
        self._connections: list[sqlite3.Connection] = []
        self._connections_lock = threading.Lock()
        self._local = threading.local()
        self._writer = connect(path, writable=True)
        self._head = self._last_position()
        if self._head is None:
            self._write_first_event()

    @property
    def head(self) -> int:
        """The position of the last event that was committed."""
        return self._head or 0

    # Writing ------------------------------------------------------------------------

    def append_all(self, appends: Sequence[Append]) -> tuple[list[Outcome], list[Record]]:
        """Decide and write appends in order, in one transaction, durable on return.

        Returns an outcome for each and the records of all. Raises sqlite3.Error when
        nothing could be written; the log is then as it was.
        """
        head = self._head
        outcomes: list[Outcome] = []
        records: list[Record] = []
        self._writer.execute("BEGIN IMMEDIATE")
        try:
            for append in appends:
                outcome, written = self._append(append)
                outcomes.append(outcome)
                records.extend(written)
            self._writer.execute("COMMIT")
        except BaseException:
            self._head = head
            if self._writer.in_transaction:
                self._writer.execute("ROLLBACK")
            raise
        return outcomes, records

    def checkpoint(self) -> None:
        """Move everything from the write-ahead log into the file."""
        self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def close(self) -> None:
        """Close all connections; no thread may use the log any more."""
        with self._connections_lock:
            for connection in self._connections:
                connection.close()
        self._writer.close()

    def _append(self, append: Append) -> tuple[Outcome, list[Record]]:
        if append.deadline is not None and time.monotonic() >= append.deadline:
            return DeadlinePassed(), []
        current = self._current_revision(append.stream)
        refusal_or_repeat = self._decide(append, current)
        if refusal_or_repeat is not None:
            return refusal_or_repeat, []
        records = self._write(append, 0 if current is None else current + 1)
        if not records:
            return Appended(current, None), []
        return Appended(records[-1].revision, records[-1].position), records

    def _decide(self, append: Append, current: int | None) -> Outcome | None:
        """What there is to answer without writing; None when the append may be written."""
        match append.expected:
            case Expectation.ANY:
                return self._repeat_under_any(append, current)
            case Expectation.STREAM_EXISTS:
                if current is None:
                    return WrongExpectedVersion(None)
                return self._repeat_under_any(append, current)
            case Expectation.NO_STREAM:
                return self._repeat_at(append, -1, current)
            case int(revision):
                return self._repeat_at(append, revision, current)

    def _repeat_under_any(self, append: Append, current: int | None) -> Outcome | None:
        """The first answer when all ids are in the stream; a mix of old and new is refused."""
        found = [self._find(append.stream, event.id) for event in append.events]
        known = [place for place in found if place is not None]
        if not known:
            return None
        if len(known) < len(found):
            return WrongExpectedVersion(current)
        return Appended(*known[-1])

    def _repeat_at(self, append: Append, expected: int, current: int | None) -> Outcome | None:
        """The first answer when just these ids follow the expected revision."""
        if expected == (-1 if current is None else current):
            return None
        if current is None or expected > current or not append.events:
            return WrongExpectedVersion(current)
        followers = self._writer.execute(
            "SELECT revision, position, id FROM events"
            " WHERE stream = ? AND revision > ? ORDER BY revision LIMIT ?",
            (append.stream, expected, len(append.events)),
        ).fetchall()
        if [event.id.bytes for event in append.events] != [row[2] for row in followers]:
            return WrongExpectedVersion(current)
        revision, position, _ = followers[-1]
        return Appended(revision, position)

    def _find(self, stream: str, event_id: UUID) -> tuple[int, int] | None:
        """Revision and position of the event with that id in the stream."""
        row: tuple[int, int] | None = self._writer.execute(
            "SELECT revision, position FROM events WHERE id = ? AND stream = ?"
            " ORDER BY position LIMIT 1",
            (event_id.bytes, stream),
        ).fetchone()
        return row

    def _write(self, append: Append, revision: int) -> list[Record]:
        """Add the events from that revision on, each with a position of its own."""
        created = time.time_ns() // 100
        position = 0 if self._head is None else self._head + 1
        records = [
            Record(
                position + n,
                append.stream,
                revision + n,
                event.type,
                messages.event_frame(event, append.stream, revision + n, position + n, created),
            )
            for n, event in enumerate(append.events)
        ]
        self._writer.executemany(
            "INSERT INTO events (position, stream, revision, type, frame, id, created)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                (*record, event.id.bytes, created)
                for record, event in zip(records, append.events, strict=True)
            ),
        )
        if records:
            self._head = records[-1].position
        return records

    def _write_first_event(self) -> None:
        """Like EventStoreDB's, a log begins with a system event."""
        self.append_all([Append(_FIRST_STREAM, Expectation.NO_STREAM, (_FIRST_EVENT,))])

    def _current_revision(self, stream: str) -> int | None:
        (revision,) = self._writer.execute(
            "SELECT max(revision) FROM events WHERE stream = ?", (stream,)
        ).fetchone()
        return None if revision is None else int(revision)

    def _last_position(self) -> int | None:
        (position,) = self._writer.execute("SELECT max(position) FROM events").fetchone()
        return None if position is None else int(position)

    # Reading ------------------------------------------------------------------------

    def stream_exists(self, stream: str) -> bool:
        """Whether the stream has ever been written to."""
        rows = self._reader().execute("SELECT 1 FROM events WHERE stream = ? LIMIT 1", (stream,))
        return rows.fetchone() is not None

    def all_forwards(self, start: int, head: int) -> list[Record]:
        """A page of `$all` from ``start`` on, both inclusive."""
        return self._page("position BETWEEN ? AND ? ORDER BY position", (start, head))

    def all_backwards(self, end: int) -> list[Record]:
        """A page of `$all` before ``end``, exclusive, newest first."""
        return self._page("position < ? ORDER BY position DESC", (end,))

    def stream_forwards(self, stream: str, start: int, head: int) -> list[Record]:
        """A page of a stream from revision ``start`` on, up to position ``head``, inclusive."""
        return self._page(
            "stream = ? AND revision >= ? AND position <= ? ORDER BY revision",
            (stream, start, head),
        )

    def stream_backwards(self, stream: str, end: int, head: int) -> list[Record]:
        """A page of a stream from revision ``end`` back, inclusive, newest first."""
        return self._page(
            "stream = ? AND revision <= ? AND position <= ? ORDER BY revision DESC",
            (stream, end, head),
        )

    def _page(self, condition: str, parameters: tuple[str | int, ...]) -> list[Record]:
        rows = self._reader().execute(
            # The conditions are the four above; values are parameters.
            f"SELECT position, stream, revision, type, frame FROM events WHERE {condition}"  # noqa: S608
            f" LIMIT {PAGE_EVENTS}",
            parameters,
        )
        page = _up_to_page_size(rows)
        rows.close()
        return page

    def _reader(self) -> sqlite3.Connection:
        """This thread's own connection."""
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = connect(self._path)
            with self._connections_lock:
                self._connections.append(connection)
        return connection


def _up_to_page_size(rows: Iterable[tuple[int, str, int, str, bytes]]) -> list[Record]:
    page: list[Record] = []
    size = 0
    for row in rows:
        record = Record._make(row)
        page.append(record)
        size += len(record.frame)
        if size >= PAGE_BYTES:
            break
    return page
