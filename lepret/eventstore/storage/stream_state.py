"""The state of a stream: its last revision, its metadata, whether it is deleted."""

import sqlite3
import time
from functools import cached_property

from lepret.eventstore import messages
from lepret.eventstore.storage.stream_metadata import (
    NO_METADATA,
    OF_METASTREAMS,
    StreamMetadata,
    metastream_of,
    original_of,
    parse_metadata,
)

TOMBSTONE_TYPE = "$streamDeleted"

TOMBSTONE_REVISION = 2**63 - 1
"""The revision of the event that tombstones a stream."""


class StreamIsDeleted(Exception):
    """The stream is tombstoned and cannot be read."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self.stream = stream


class StreamState:
    """A stream within one transaction. Each property is looked up when it is first used."""

    def __init__(self, connection: sqlite3.Connection, stream: str) -> None:
        self.stream = stream
        self._connection = connection

    @cached_property
    def last_revision(self) -> int | None:
        """The last event's revision; None for a stream without events."""
        (revision,) = self._connection.execute(
            "SELECT max(revision) FROM events WHERE stream = ?", (self.stream,)
        ).fetchone()
        return None if revision is None else int(revision)

    @property
    def next_revision(self) -> int:
        """The revision of the next event."""
        return 0 if self.last_revision is None else self.last_revision + 1

    @cached_property
    def metadata(self) -> StreamMetadata:
        """The metadata that apply."""
        if self.original is not None:
            return OF_METASTREAMS
        event = self._metadata_event
        data = None if event is None else messages.json_of(event)
        return NO_METADATA if data is None else parse_metadata(data)

    @property
    def raw_metadata(self) -> bytes | None:
        """The metadata as they were written; None without metadata."""
        event = self._metadata_event
        return None if event is None else messages.data_of(event)

    @property
    def _metadata_event(self) -> bytes | None:
        """The event that holds the metadata, as its response."""
        row = self._connection.execute(
            "SELECT frame FROM events WHERE stream = ? ORDER BY revision DESC LIMIT 1",
            (metastream_of(self.stream),),
        ).fetchone()
        return None if row is None else bytes(row[0])

    @property
    def is_absent(self) -> bool:
        """Whether the stream has neither events nor metadata."""
        return self.last_revision is None and self.raw_metadata is None

    @property
    def is_tombstoned(self) -> bool:
        """Whether the stream, or the one whose metadata it holds, is deleted permanently."""
        return self.last_revision == TOMBSTONE_REVISION or (
            self.original is not None and self.original.is_tombstoned
        )

    @property
    def is_deleted(self) -> bool:
        """Whether the stream is deleted, and nothing was appended since."""
        return self.metadata.is_deleted

    @cached_property
    def original(self) -> "StreamState | None":
        """The stream whose metadata this one holds; None if it is not a metastream."""
        name = original_of(self.stream)
        return None if name is None else StreamState(self._connection, name)

    def bounds(self) -> tuple[int, int]:
        """The first revision and the earliest creation time that the metadata do not hide."""
        if self.last_revision is None:
            return 0, 0
        now = time.time_ns() // 100
        return self.metadata.first_revision(self.last_revision), self.metadata.oldest(now)

    def refuse_tombstoned(self) -> None:
        """Raises StreamIsDeleted for a tombstoned stream and for its metastream."""
        if self.is_tombstoned:
            raise StreamIsDeleted(self.stream)
