"""Loads and appends the streams of loan requests, over esdbclient."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol
from uuid import UUID

from esdbclient import EventStoreDBClient, NewEvent, RecordedEvent, StreamState
from esdbclient.exceptions import (
    DeadlineExceeded,
    DiscoveryFailed,
    GrpcError,
    NodeIsNotLeader,
    NotFound,
    WrongCurrentVersion,
)

from loans import codec
from loans.domain.events import LoanEvent


class EventStoreUnavailable(Exception):
    """The event store did not answer in time; what was asked of it may or may not have happened."""


class StaleRevision(Exception):
    """The stream has moved on since the revision that a decision was based on."""


@dataclass(frozen=True)
class Stream:
    """A loan request's events, oldest first, and where they end.

    `revision` is the last event's number in the stream and `position` its commit position in the
    whole store; both `None` for a stream that has no events.
    """

    events: tuple[LoanEvent, ...] = ()
    revision: int | None = None
    position: int | None = None


class EventStore(Protocol):
    """What the use cases need of an event store."""

    def load(self, loan_request_id: UUID) -> Stream:
        """The stream of one loan request, empty where there is none.

        Raises:
            EventStoreUnavailable: no answer in time.
        """

    def append(
        self,
        loan_request_id: UUID,
        events: Sequence[LoanEvent],
        *,
        revision: int | None,
        command_id: UUID,
        user: str,
    ) -> int:
        """Append after `revision` (`None`: a new stream); answers the commit position.

        Appending the same command's events again answers as the first time did.

        Raises:
            StaleRevision: the stream does not end at `revision`.
            EventStoreUnavailable: no answer in time.
        """


_UNAVAILABLE = (DeadlineExceeded, DiscoveryFailed, GrpcError, NodeIsNotLeader)


class EventStoreDB:
    """An `EventStore` in EventStoreDB, or in anything that speaks its protocol.

    `connect` gives the client; it may fail as long as the server is away. `timeout` in seconds
    bounds each call.
    """

    def __init__(self, connect: Connect, *, timeout: float) -> None:
        self._connect = connect
        self._timeout = timeout

    def load(self, loan_request_id: UUID) -> Stream:
        try:
            recorded = self._connect().get_stream(
                codec.stream_name(loan_request_id), timeout=self._timeout
            )
        except NotFound:
            return Stream()
        except _UNAVAILABLE as error:
            raise EventStoreUnavailable from error
        return _stream(recorded)

    def append(
        self,
        loan_request_id: UUID,
        events: Sequence[LoanEvent],
        *,
        revision: int | None,
        command_id: UUID,
        user: str,
    ) -> int:
        encode = partial(codec.encode, command_id=command_id, user=user)
        try:
            return self._connect().append_to_stream(
                codec.stream_name(loan_request_id),
                current_version=StreamState.NO_STREAM if revision is None else revision,
                events=[_new_event(encode(event)) for event in events],
                timeout=self._timeout,
            )
        except WrongCurrentVersion as error:
            raise StaleRevision from error
        except _UNAVAILABLE as error:
            raise EventStoreUnavailable from error


class Connect(Protocol):
    """Gives the process's client, which it makes when it is first asked for."""

    def __call__(self) -> EventStoreDBClient: ...


def _stream(recorded: Sequence[RecordedEvent]) -> Stream:
    decoded = (codec.decode(event.type, event.data, event.metadata) for event in recorded)
    return Stream(
        events=tuple(event for event in decoded if event is not None),
        revision=recorded[-1].stream_position,
        position=recorded[-1].commit_position,
    )


def _new_event(event: codec.Encoded) -> NewEvent:
    return NewEvent(id=event.id, type=event.type, data=event.data, metadata=event.metadata)
