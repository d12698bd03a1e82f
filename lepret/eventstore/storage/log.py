"""The log: all events in the order of their positions, in one SQLite file.

Positions, and revisions within a stream, have no gaps until the log is scavenged. An event is
stored as the response that reads send, so that sending it needs no parsing, beside the columns
that reads and filters need.
"""

import sqlite3
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from uuid import UUID

from lepret.eventstore import messages
from lepret.eventstore.storage.acknowledged import Acknowledged
from lepret.eventstore.storage.datafile import connect, leave_log
from lepret.eventstore.storage.filters import HIDDEN_IN_ALL, Filter
from lepret.eventstore.storage.links import LAST_EVENT, LINK_TYPE, link_target
from lepret.eventstore.storage.records import NO_NAME, Record
from lepret.eventstore.storage.stream_metadata import METADATA_TYPE
from lepret.eventstore.storage.stream_state import StreamState
from lepret.eventstore.storage.writer import Writer
from lepret.eventstore.writes import Append, Expectation, Outcome, ProposedEvent, Write

PAGE_EVENTS = 512
PAGE_BYTES = 1024 * 1024
"""A page ends when it reaches either limit."""

MAX_REVISION = 2**63 - 1
"""The largest integer in SQLite; the protocol allows larger ones."""

_FIRST_EVENT = ProposedEvent(
    id=UUID("6c657072-0000-4000-8000-000000000000"),
    type=METADATA_TYPE,
    is_json=True,
    data=b'{"$maxAge":2592000}',
    metadata=b"",
)
_FIRST_STREAM = "$$$scavenges"


class Log:
    """The log in its file. Only one thread may append; any thread may read."""

    def __init__(self, path: Path) -> None:
        """Open a file that `datafile` has prepared. Raises sqlite3.Error, OSError."""
        self._path = path
        self._connections: list[sqlite3.Connection] = []
        self._connections_lock = threading.Lock()
        self._local = threading.local()
        self._connection = connect(path, writable=True)
        self._writer = Writer(self._connection)
        # Before the file needs its log: if that is not made any more, this shows that it is whole.
        self._acknowledged = Acknowledged(path, self.head)
        self._connection.execute("PRAGMA journal_mode = WAL").fetchall()
        if self._writer.head is None:
            self._write_first_event()

    @property
    def head(self) -> int:
        """The position of the last committed event."""
        return self._writer.head or 0

    # Writing ------------------------------------------------------------------------

    def append_all(self, writes: Sequence[Write]) -> tuple[list[Outcome], list[Record]]:
        """Write in order, in one transaction that is on disk on return.

        Returns the outcome of each write and the records of all. Raises sqlite3.Error if that
        fails; the log is then unchanged.
        """
        head = self._writer.head
        outcomes: list[Outcome] = []
        records: list[Record] = []
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            for write in writes:
                outcome, written = self._writer.write(write)
                outcomes.append(outcome)
                records.extend(written)
            self._connection.execute("COMMIT")
        except BaseException:
            self._writer.head = head
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise
        if records:
            self._acknowledged.write(self.head)
        return outcomes, records

    def close(self) -> None:
        """Move the write-ahead log into the file, and close all connections.

        No thread may use the log afterwards.
        """
        with self._connections_lock:
            for connection in self._connections:
                connection.close()
        self._acknowledged.close()
        leave_log(self._connection)
        self._connection.close()

    def _write_first_event(self) -> None:
        """A log begins with a system event, as EventStoreDB's does."""
        self.append_all([Append(_FIRST_STREAM, Expectation.NO_STREAM, (_FIRST_EVENT,))])

    # Reading ------------------------------------------------------------------------

    def stream_exists(self, stream: str) -> bool:
        """Whether the stream has events and is not deleted.

        Raises StreamIsDeleted for a tombstoned stream.
        """
        state = StreamState(self._reader(), stream)
        state.refuse_tombstoned()
        return state.last_revision is not None and not state.is_deleted

    def all_forwards(self, start: int, head: int) -> list[Record]:
        """A page of `$all` from position ``start`` to ``head``, both inclusive."""
        return self._page("position BETWEEN ? AND ? ORDER BY position", (start, head))

    def all_backwards(self, end: int) -> list[Record]:
        """A page of `$all` before position ``end``, exclusive, newest first."""
        return self._page("position < ? ORDER BY position DESC", (end,))

    def judged_texts(self, keep: Filter, first: int, last: int) -> list[str]:
        """The different types, or streams' names, by which a filter judges a part of `$all`.

        Without those of events that it hides whatever they match. Much faster than a read: SQLite
        makes neither rows nor events of it.
        """
        hidden = HIDDEN_IN_ALL if keep.is_in_all else "FALSE"
        rows = self._reader().execute(
            # Both are fixed texts. By position: of an index, all of it would be read.
            f"SELECT DISTINCT {keep.column} FROM events NOT INDEXED"  # noqa: S608
            f" WHERE position BETWEEN ? AND ? AND NOT ({hidden})",
            (first, last),
        )
        return [text for (text,) in rows]

    def stream_forwards(self, stream: str, start: int, head: int) -> list[Record]:
        """A page of a stream from revision ``start`` on, up to position ``head``, inclusive.

        Without events that the metadata hide. Raises StreamIsDeleted.
        """
        first, oldest = self._bounds(stream)
        return self._page(
            "stream = ? AND revision >= ? AND position <= ? AND created >= ? ORDER BY revision",
            (stream, max(start, first), head, oldest),
        )

    def stream_backwards(self, stream: str, end: int, head: int) -> list[Record]:
        """A page of a stream from revision ``end`` back, inclusive, newest first.

        Without events that the metadata hide. Raises StreamIsDeleted.
        """
        first, oldest = self._bounds(stream)
        return self._page(
            "stream = ? AND revision BETWEEN ? AND ? AND position <= ? AND created >= ?"
            " ORDER BY revision DESC",
            (stream, first, end, head, oldest),
        )

    def resolve(self, records: Sequence[Record]) -> list[Record]:
        """The records, with links resolved to their events."""
        return [
            record._replace(response=self._resolved(record)) if record.type == LINK_TYPE else record
            for record in records
        ]

    def _resolved(self, link: Record) -> bytes:
        target = link_target(messages.data_of(link.response))
        if target is None:
            return link.response
        return messages.resolved_link(link.response, self._event(*target))

    def _event(self, stream: str, revision: int) -> bytes | None:
        """One event as its response; None if it is absent or hidden."""
        state = StreamState(self._reader(), stream)
        if stream == NO_NAME or state.is_tombstoned:
            return None
        if revision == LAST_EVENT and state.last_revision is not None:
            revision = state.last_revision
        first, oldest = state.bounds()
        if revision < first:
            return None
        page = self._page(
            "stream = ? AND revision = ? AND created >= ?", (stream, revision, oldest)
        )
        return page[0].response if page else None

    def _bounds(self, stream: str) -> tuple[int, int]:
        """See `StreamState.bounds`. Raises StreamIsDeleted."""
        state = StreamState(self._reader(), stream)
        state.refuse_tombstoned()
        return state.bounds()

    def _page(self, condition: str, parameters: tuple[str | int, ...]) -> list[Record]:
        rows = self._reader().execute(
            # The condition is one of the five above; values are parameters.
            f"SELECT position, stream, revision, type, frame FROM events WHERE {condition}"  # noqa: S608
            f" LIMIT {PAGE_EVENTS}",
            parameters,
        )
        page = _up_to_page_size(rows)
        rows.close()
        return page

    def _reader(self) -> sqlite3.Connection:
        """The connection of this thread."""
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
        size += len(record.response)
        if size >= PAGE_BYTES:
            break
    return page
