"""Loads streams from the event store and appends to them, over esdbclient."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, Protocol, TypeVar
from uuid import UUID

from esdbclient import NewEvent, RecordedEvent, StreamState
from esdbclient.exceptions import (
    EventStoreDBClientException,
    StreamIsDeleted,
    WrongCurrentVersion,
)

from lepret.common.event_store_connection import SharedClient
from lepret.common.turns import waiting_elsewhere
from loans.adapters import codec
from loans.adapters.codec import E, StreamId
from loans.domain.events import Event

logger = logging.getLogger(__name__)

F = TypeVar("F", bound=Event)
# What the client is asked to read.
_Read = Mapping[str, Any]


class EventStoreUnavailable(Exception):
    """The event store did not answer in time. An append may or may not have been stored."""


class NewerVersionNeeded(EventStoreUnavailable):
    """The stream has an event that only a newer version of the program can read.

    Whoever ignored it might decide wrongly. For callers it is as if the event store was away:
    nothing is recorded here, and trying again later, or elsewhere, is safe.
    """


class StaleRevision(Exception):
    """Other writers have appended after the revision that the decision was based on."""


class StreamGone(Exception):
    """An operator has deleted or truncated the stream: what it said cannot be known any more."""


@dataclass(frozen=True)
class Recorded(Generic[E]):
    """An event with its place in the store, and the id of its command, if known.

    `position` is its commit position; right after an append, that of the append's last event.
    `recorded_at` is when it was recorded, by the store's clock; `None` right after an append.
    """

    event: E
    revision: int
    position: int
    command_id: UUID | None
    recorded_at: datetime | None = None


@dataclass(frozen=True)
class Stream(Generic[E]):
    """A stream's events, oldest first, with the revision and commit position of the last one.

    Both are `None` for a stream without events. Events of types that are not ours count for the
    revision and the position, but are not among the events.
    """

    recorded: tuple[Recorded[E], ...] = ()
    revision: int | None = None
    position: int | None = None

    @property
    def events(self) -> tuple[E, ...]:
        """The events without their revisions and positions."""
        return tuple(each.event for each in self.recorded)

    def has(self, command_id: UUID) -> bool:
        """Whether a command has left events in it."""
        return any(each.command_id == command_id for each in self.recorded)

    def as_left_by(self, command_id: UUID) -> Stream[E]:
        """The stream up to the last event of a command; all of it if the command has no events."""
        own = [number for number, each in enumerate(self.recorded) if each.command_id == command_id]
        if not own:
            return self
        until = self.recorded[: own[-1] + 1]
        return Stream(until, until[-1].revision, until[-1].position)

    def with_appended(self, events: Sequence[E], command_id: UUID, position: int) -> Stream[E]:
        """The stream after an append of `events`, the last of which is at `position`."""
        start = 0 if self.revision is None else self.revision + 1
        new = (Recorded(event, at, position, command_id) for at, event in enumerate(events, start))
        return Stream((*self.recorded, *new), start + len(events) - 1, position)


class EventStore(Protocol):
    """What the use cases need from an event store."""

    def load(self, stream: StreamId[E]) -> Stream[E]:
        """The stream as it is now; an empty one if it does not exist.

        Raises:
            StreamGone: it is not whole: its first event, if it `needs_all`, or every one is gone.
            EventStoreUnavailable: no answer in time.
            NewerVersionNeeded: a newer version of the program has appended to it.
        """

    def assume_new(self, stream: StreamId[E]) -> Stream[E]:
        """An empty stream, without looking for events: appending fails if there are any.

        What was deleted must be looked for, since appending to it as a new stream would succeed.

        Raises:
            StreamGone: it was deleted.
            EventStoreUnavailable: no answer in time.
        """

    def load_beside(
        self, stream: StreamId[E], new: StreamId[F]
    ) -> tuple[Stream[E], Stream[F] | None]:
        """What `load` answers about a stream that is probably new, and `assume_new` about another.

        Both are asked at the same time. Of another one that was deleted, this answers `None`.

        Raises:
            StreamGone, EventStoreUnavailable, NewerVersionNeeded: as `load`.
        """

    def append(
        self,
        stream: StreamId[E],
        events: Sequence[Event],
        *,
        revision: int | None,
        command_id: UUID,
        user: str,
    ) -> int:
        """Append after `revision` (`None`: as a new stream); returns the last event's position.

        Appending the events of the same command again returns the same position.

        Raises:
            StaleRevision: the stream does not end at `revision`.
            StreamGone: it was deleted for good.
            EventStoreUnavailable: no answer in time.
        """

    def now(self) -> datetime:
        """The time by the store's clock, which is the one by which events are recorded.

        Raises:
            EventStoreUnavailable: no answer in time.
        """


class EventStoreDB:
    """An `EventStore` in EventStoreDB, or in anything that speaks its protocol.

    `connect` returns the process's client, and may fail while the server is away. `timeout`, in
    seconds, bounds each call.
    """

    def __init__(self, connect: Callable[[], SharedClient], *, timeout: float) -> None:
        self._connect = connect
        self._timeout = timeout

    def load(self, stream: StreamId[E]) -> Stream[E]:
        (recorded,) = self._read(_all_of(stream))
        return self.assume_new(stream) if recorded is None else _whole(stream, recorded)

    def assume_new(self, stream: StreamId[E]) -> Stream[E]:
        return _new(*self._read(_metadata_of(stream)))

    def load_beside(
        self, stream: StreamId[E], new: StreamId[F]
    ) -> tuple[Stream[E], Stream[F] | None]:
        try:
            recorded, metadata, others_metadata = self._read(
                _all_of(stream), _metadata_of(stream), _metadata_of(new)
            )
        except StreamGone:  # One of the two was deleted for good.
            return self.load(stream), None
        loaded: Stream[E] = _new(metadata) if recorded is None else _whole(stream, recorded)
        with suppress(StreamGone):
            return loaded, _new(others_metadata)
        return loaded, None

    def append(
        self,
        stream: StreamId[E],
        events: Sequence[Event],
        *,
        revision: int | None,
        command_id: UUID,
        user: str,
    ) -> int:
        types = {type(event) for event in events}
        assert len(types) == len(events), "event ids are made of a command and a type"
        encoded = codec.encode_all(events, command_id=command_id, user=user)
        new = [_new_event(each) for each in encoded]
        try:
            with waiting_elsewhere():
                return self._connect().append_to_stream(
                    stream.name,
                    current_version=StreamState.NO_STREAM if revision is None else revision,
                    events=new,
                    timeout=self._timeout,
                )
        except WrongCurrentVersion as error:
            raise StaleRevision from error
        except StreamIsDeleted as error:
            raise StreamGone from error
        except EventStoreDBClientException as error:
            raise EventStoreUnavailable from error

    def now(self) -> datetime:
        try:
            with waiting_elsewhere():
                return self._connect().store_time(timeout=self._timeout)
        except EventStoreDBClientException as error:
            raise EventStoreUnavailable from error

    def _read(self, *reads: _Read) -> list[Sequence[RecordedEvent] | None]:
        """The events of each; `None` if it does not exist, or was deleted so that it may again."""
        try:
            with waiting_elsewhere():
                return self._connect().get_streams(*reads, timeout=self._timeout)
        except StreamIsDeleted as error:
            raise StreamGone from error
        except EventStoreDBClientException as error:
            raise EventStoreUnavailable from error


def _all_of(stream: StreamId[Any]) -> _Read:
    return {"stream_name": stream.name}


def _metadata_of(stream: StreamId[Any]) -> _Read:
    name = codec.metadata_stream_name(stream.name)
    return {"stream_name": name, "backwards": True, "limit": 1}


def _new(metadata: Sequence[RecordedEvent] | None) -> Stream[Any]:
    """A stream without events, unless its metadata says that it had some."""
    if metadata and codec.is_truncated_by(metadata[0].data):
        raise StreamGone
    return Stream()


def _whole(stream: StreamId[E], recorded: Sequence[RecordedEvent]) -> Stream[E]:
    if not recorded or (stream.needs_all and recorded[0].stream_position > 0):
        raise StreamGone
    try:
        return _stream(stream, recorded)
    except codec.WrittenByNewerVersion as newer:
        _log_once(str(newer))
        raise NewerVersionNeeded from newer


def _stream(stream: StreamId[E], recorded: Sequence[RecordedEvent]) -> Stream[E]:
    known = (_recorded(stream, each) for each in recorded)
    return Stream(
        recorded=tuple(each for each in known if each is not None),
        revision=recorded[-1].stream_position,
        position=recorded[-1].commit_position,
    )


def _recorded(stream: StreamId[E], recorded: RecordedEvent) -> Recorded[E] | None:
    event = codec.decode_as(stream.classes, recorded.type, recorded.data, recorded.metadata)
    if event is None:
        return None
    assert recorded.commit_position is not None, "only links lack it in esdbclient"
    return Recorded(
        event=event,
        revision=recorded.stream_position,
        position=recorded.commit_position,
        command_id=codec.command_id(recorded.metadata),
        recorded_at=recorded.recorded_at,
    )


@functools.lru_cache(maxsize=100)
def _log_once(what: str) -> None:
    logger.warning("%s: nothing is decided here on streams that have it", what)


def _new_event(event: codec.Encoded) -> NewEvent:
    return NewEvent(id=event.id, type=event.type, data=event.data, metadata=event.metadata)
