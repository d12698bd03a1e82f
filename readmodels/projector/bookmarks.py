"""Tells by the last event that was applied whether the event store is still the same one.

An event store has no identity that a client could ask for. If it went back to an older state, or is
another one, it may also have grown beyond any position. So the event is kept beside each position.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Self
from uuid import UUID

from esdbclient import EventStoreDBClient, RecordedEvent
from esdbclient.exceptions import (
    AccessDeniedError,
    EventStoreDBClientException,
    ExceptionThrownByHandler,
    GrpcError,
    InternalError,
    NotFound,
    StreamIsDeleted,
    UnknownError,
)

from lepret.common.event_store_refusals import DENIED, status_of
from readmodels.models import Progress

# How EventStoreDB refuses a read from where no record begins. The last is esdbclient's for what it
# has no name for.
_REFUSED: Final = {ExceptionThrownByHandler, InternalError, UnknownError, GrpcError}


class StoreReplaced(Exception):
    """The event store does not have the last event that was applied: it went back to an older
    state, or is another store."""


@dataclass(frozen=True)
class Bookmark:
    """A commit position, and the event at it; none at position 0, the beginning.

    Of an event that an older version of the program has applied, only the time is known.
    """

    position: int = 0
    recorded_at: datetime | None = None
    event_id: UUID | None = None
    stream_name: str = ""
    revision: int | None = None

    @classmethod
    def at(cls, recorded: RecordedEvent) -> Self:
        """At an event of `$all`."""
        assert recorded.commit_position is not None, "events of $all have a position"
        return cls(
            recorded.commit_position,
            recorded.recorded_at,
            recorded.id,
            recorded.stream_name,
            recorded.stream_position,
        )

    @classmethod
    def of(cls, progress: Progress) -> Self:
        """Where a table has come to."""
        if not progress.position:
            return cls()
        if progress.event_position != progress.position:
            return cls(progress.position, progress.recorded_at)
        return cls(
            progress.position,
            progress.recorded_at,
            progress.event_id,
            progress.event_stream,
            progress.event_revision,
        )

    @property
    def columns(self) -> dict[str, Any]:
        """The columns of `Progress`, with their values."""
        # PostgreSQL stores no NUL, which another application's name may have.
        is_storable = "\0" not in self.stream_name
        return {
            "position": self.position,
            "recorded_at": self.recorded_at,
            "event_position": self.position,
            "event_id": self.event_id,
            "event_stream": self.stream_name if is_storable else "",
            "event_revision": self.revision if is_storable else None,
        }

    def is_at(self, recorded: RecordedEvent) -> bool:
        """Whether this is the event, as far as is known."""
        # Read from its stream, an event has no position in older versions of EventStoreDB.
        if recorded.commit_position not in (self.position, None):
            return False
        if self.event_id is None:
            return self.recorded_at in (recorded.recorded_at, None)
        return self.event_id == recorded.id


def check(bookmark: Bookmark, client: EventStoreDBClient, *, timeout: float) -> None:
    """Make sure that the event store is the one in which the bookmark was set.

    Reads up to three events, each for up to `timeout` seconds.

    Raises:
        StoreReplaced: it is not.
        EventStoreDBClientException: it does not answer.
    """
    if bookmark.event_id is None and bookmark.recorded_at is None:
        return  # At the beginning, or nothing is known.
    recorded = _event_at(bookmark.position, client, timeout)
    if recorded is None:
        is_the_same = _was_there(bookmark, client, timeout)
    else:
        is_the_same = bookmark.is_at(recorded)
    if not is_the_same:
        raise StoreReplaced


def _event_at(position: int, client: EventStoreDBClient, timeout: float) -> RecordedEvent | None:
    """The event at exactly this position, whatever its type; `None` if none is (any more)."""
    try:
        # Without a filter, which would have to search until it finds something.
        events = list(
            client.read_all(commit_position=position, filter_exclude=(), limit=1, timeout=timeout)
        )
    except EventStoreDBClientException as error:
        if type(error) not in _REFUSED or status_of(error) in DENIED:
            raise
        return None
    return next((each for each in events if each.commit_position == position), None)


def _was_there(bookmark: Bookmark, client: EventStoreDBClient, timeout: float) -> bool:
    """Whether a scavenge has removed the event from this store, as its stream tells.

    A stream that we may not read tells nothing.
    """
    if bookmark.revision is None:
        return False
    stream, revision = bookmark.stream_name, bookmark.revision
    try:
        events = client.get_stream(stream, stream_position=revision, limit=1, timeout=timeout)
    except StreamIsDeleted:
        return True
    except (NotFound, AccessDeniedError):
        events = ()
    for each in events:
        return each.stream_position > revision or bookmark.is_at(each)
    return _is_hidden(stream, revision, client, timeout)


def _is_hidden(stream: str, revision: int, client: EventStoreDBClient, timeout: float) -> bool:
    """Whether the stream was deleted, or truncated, beyond a revision."""
    try:
        metadata, _ = client.get_stream_metadata(stream, timeout=timeout)
    except (ValueError, AccessDeniedError):
        return False  # What is not JSON hides nothing.
    before = metadata.get("$tb") if isinstance(metadata, dict) else None
    return isinstance(before, int) and before > revision
