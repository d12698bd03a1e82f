"""Looks up whether an append is recorded, before anybody is told that it failed.

An append that was not answered in time, or whose connection broke, may be recorded all the same.
EventStoreDB never answers some that are sent twice at the same moment, though they are recorded.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import closing
from functools import wraps
from typing import Any, Final, Protocol, TypeVar, cast

import grpc
from esdbclient import NewEvent, StreamState
from esdbclient.connection import ESDBConnection
from esdbclient.exceptions import (
    AccessDeniedError,
    BadRequestError,
    EventStoreDBClientException,
    GrpcDeadlineExceeded,
    InvalidTransactionError,
    MaximumAppendSizeExceededError,
    NotFound,
    StreamIsDeleted,
    WrongCurrentVersion,
)

from lepret.common.event_store_refusals import DENIED, status_of
from lepret.common.patience import seconds_left

# An append has a quarter of its time. Then it is looked up and, if it is not there and was not
# answered, sent again, which writes nothing twice. The last quarter is for looking up.
_TRIES: Final = 3
_SHARE: Final = 1 / 4
# How much sooner than its time is over a call may end for that reason.
_ABOUT_SECONDS: Final = 0.2
# For appends without a deadline.
_SECONDS_TO_LOOK_UP: Final = 5.0
# How far back it is searched for in a stream, if nothing says where it would be.
_SEARCHED: Final = 100

_REFUSALS: Final = (
    AccessDeniedError,
    BadRequestError,
    InvalidTransactionError,
    MaximumAppendSizeExceededError,
    StreamIsDeleted,
    WrongCurrentVersion,
)

_REFUSING: Final = (*DENIED, grpc.StatusCode.INVALID_ARGUMENT)

Version = int | StreamState
Method = TypeVar("Method", bound=Callable[..., Any])


class Client(Protocol):
    """What this uses of the client."""

    @property
    def connection(self) -> ESDBConnection: ...

    def open_another(self) -> ESDBConnection: ...

    def read_options(self) -> dict[str, Any]: ...

    def replace(self, connection: ESDBConnection) -> None: ...

    def recorded_at(
        self, stream_name: str, current_version: Version, sent: list[NewEvent], *, timeout: float
    ) -> int | None: ...


def looked_up(append: Method) -> Method:
    """An append that raises an error only if its events are not recorded, or nobody can tell."""

    @wraps(append)
    def call(
        self: Client,
        stream_name: str,
        *,
        current_version: Version,
        events: NewEvent | Iterable[NewEvent],
        timeout: float | None = None,
        **options: Any,
    ) -> int:
        sent = [events] if isinstance(events, NewEvent) else list(events)
        options |= {
            "current_version": current_version,
            "events": sent,
        }
        if not sent:
            return cast(int, append(self, stream_name, timeout=timeout, **options))
        timeout = seconds_left(timeout)
        began = time.monotonic()
        seconds = None if timeout is None else timeout * _SHARE
        for number in range(_TRIES):
            connection, sent_at = self.connection, time.monotonic()
            try:
                return cast(int, append(self, stream_name, timeout=seconds, **options))
            except (EventStoreDBClientException, ValueError) as error:
                # An earlier try may have been recorded after it was looked up.
                if _is_refusal(error) and number == 0:
                    raise
                failure = error
            left = _SECONDS_TO_LOOK_UP if timeout is None else began + timeout - time.monotonic()
            position = _look_up(self, stream_name, current_version, sent, left, failure)
            if position is not None:
                return position
            if seconds is None or time.monotonic() - sent_at < seconds - _ABOUT_SECONDS:
                break  # There was an answer.
            if isinstance(failure, GrpcDeadlineExceeded):
                # What should have taken it to the store may be dead.
                self.replace(connection)
        raise failure

    return cast(Method, call)


def _is_refusal(error: Exception) -> bool:
    return isinstance(error, _REFUSALS) or status_of(error) in _REFUSING


def _look_up(
    client: Client,
    stream_name: str,
    current_version: Version,
    sent: list[NewEvent],
    left: float,
    failure: Exception,
) -> int | None:
    if left <= 0:
        raise failure
    try:
        return client.recorded_at(stream_name, current_version, sent, timeout=left)
    except (EventStoreDBClientException, ValueError):
        raise failure from None


def recorded_at(
    client: Client,
    stream_name: str,
    current_version: Version,
    sent: list[NewEvent],
    *,
    timeout: float | None = None,
) -> int | None:
    """The commit position of the last of these events, if they are in the stream.

    Over a connection of its own, since the one over which no answer came may be dead.
    """
    with closing(client.open_another()) as connection:
        read = connection.streams.read(
            stream_name=stream_name,
            **_place(current_version, len(sent)),
            timeout=timeout,
            **client.read_options(),
        )
        try:
            recorded = {event.id: event for event in read}
        except NotFound:
            return None
    if not all(event.id in recorded for event in sent):
        return None
    position: int | None = recorded[sent[-1].id].commit_position
    return position


def _place(current_version: Version, count: int) -> dict[str, Any]:
    """Where in the stream the events would be."""
    if isinstance(current_version, int):
        return {"stream_position": current_version + 1, "limit": count}
    if current_version is StreamState.NO_STREAM:
        return {"limit": count}
    return {"backwards": True, "limit": max(count, _SEARCHED)}
