"""A client of the event store whose threads do not break each other's calls.

When a call of esdbclient's finds the connection broken, it replaces the connection that all threads
share and closes the old one. Reads that are under way on it then end early, as if they were
complete; it tries again after its time is over, and so takes twice the time that it was given.
"""

from __future__ import annotations

import inspect
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import wraps
from typing import Any, Final, TypeVar, cast

import grpc
from esdbclient import EventStoreDBClient, RecordedEvent
from esdbclient.common import AbstractReadResponse, GrpcOptions
from esdbclient.connection import ESDBConnection
from esdbclient.exceptions import (
    CancelledByClient,
    DiscoveryFailed,
    EventStoreDBClientException,
    GrpcDeadlineExceeded,
    GrpcError,
    NodeIsNotLeader,
    ServiceUnavailable,
    WrongCurrentVersion,
)
from esdbclient.streams import ReadResponse, StreamsService
from grpc.experimental import ChannelOptions

from lepret.common.other_clocks import OtherClock
from lepret.common.patience import waiting

# No call with a deadline lasts longer. Subscriptions do, but end with their broken connection.
SECONDS_UNTIL_CLOSED: Final = 15.0
_SECONDS_BETWEEN_TRIES: Final = 0.1
# For finding a node of a cluster, when it is connected to.
_SECONDS_TO_DISCOVER: Final = 4.0
# A channel that another one has replaced must not share with it how long it waits to reconnect.
_CHANNEL_OPTIONS: Final[GrpcOptions] = (
    ("grpc.use_local_subchannel_pool", 1),
    # Receives the messages of a stream in the thread that reads them. By default gRPC receives them
    # in another thread, which takes twice the time.
    (ChannelOptions.SingleThreadedUnaryStream, 1),
)

Method = TypeVar("Method", bound=Callable[..., Any])


class ReadCutOff(GrpcError):
    """A read ended before the server said that this was all."""


class _WholeRead(AbstractReadResponse):
    """The events of a read, which ends only if they were all. `clock` hears when it was."""

    def __init__(self, response: ReadResponse, clock: OtherClock) -> None:
        self._response = response
        self._clock: OtherClock | None = clock

    def __next__(self) -> RecordedEvent:
        call = cast(grpc.Call, self._response._read_resps)  # noqa: SLF001
        try:
            event = next(self._response)
        except StopIteration:
            # esdbclient ends a read that this process has cancelled, as if it were complete.
            if call.code() is not grpc.StatusCode.OK:
                raise ReadCutOff from None
            self._note_time(call)
            raise
        self._note_time(call)
        return event

    def stop(self) -> None:
        self._response.stop()

    def _note_time(self, call: grpc.Call) -> None:
        # Once, since it is when the answer began.
        if self._clock is not None:
            _note_time(call, self._clock)
            self._clock = None


def _note_time(call: grpc.Call, clock: OtherClock) -> None:
    # EventStoreDB's web server sends it with each answer, as RFC 9110 wants (section 6.6.1).
    date = dict(call.initial_metadata() or ()).get("date")
    if isinstance(date, str):
        with suppress(ValueError):
            clock.hear(parsedate_to_datetime(date))


class _WholeReads(StreamsService):
    clock: OtherClock

    def read(self, **options: Any) -> Any:
        response = super().read(**options)
        return response if options.get("subscribe") else _WholeRead(response, self.clock)


def _in_time(method: Method) -> Method:
    """Try a second time, over a new connection, if the first one broke; both within `timeout`."""
    once = inspect.unwrap(method)  # without esdbclient's own tries

    @wraps(method)
    def call(self: SharedClient, *args: Any, timeout: float | None = None, **kwargs: Any) -> Any:
        try:
            with waiting(timeout) as seconds:
                return twice(self, *args, timeout=seconds, **kwargs)
        except TimeoutError:
            raise GrpcDeadlineExceeded from None

    def twice(self: SharedClient, *args: Any, timeout: float | None, **kwargs: Any) -> Any:
        deadline = None if timeout is None else time.monotonic() + timeout
        connection = self._connection
        try:
            result = once(self, *args, timeout=timeout, **kwargs)
        except Exception as error:
            if not _is_worth_another_try(error):
                raise
            if _is_broken_by(error):
                self.replace(connection, getattr(error, "leader_grpc_target", None), by=deadline)
            time.sleep(_SECONDS_BETWEEN_TRIES)
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                raise
        else:
            self.worked = connection
            return result
        return once(self, *args, timeout=left, **kwargs)

    return cast(Method, call)


def _noted(append: Method) -> Method:
    """Note whether the store takes events."""

    @wraps(append)
    def call(self: SharedClient, *args: Any, **kwargs: Any) -> Any:
        try:
            position = append(self, *args, **kwargs)
        except EventStoreDBClientException as error:
            self.append_failed = not isinstance(error, WrongCurrentVersion)
            raise
        self.append_failed = False
        return position

    return cast(Method, call)


def _is_worth_another_try(error: Exception) -> bool:
    if isinstance(error, GrpcDeadlineExceeded):
        return False
    return isinstance(error, (GrpcError, CancelledByClient)) or _is_broken_by(error)


def _is_broken_by(error: Exception) -> bool:
    if isinstance(error, ValueError):
        # What gRPC says of a channel that another thread has closed.
        return any(words in str(error) for words in ("Channel closed", "closed channel"))
    return isinstance(error, (ServiceUnavailable, NodeIsNotLeader))


class SharedClient(EventStoreDBClient):
    """A client that many threads share."""

    def __init__(
        self,
        uri: str,
        *,
        seconds_until_closed: float = SECONDS_UNTIL_CLOSED,
        clock: OtherClock | None = None,
    ) -> None:
        self._seconds_until_closed = seconds_until_closed
        # The connection over which a call has succeeded last.
        self.worked: ESDBConnection | None = None
        # Whether the store failed to take what was appended last.
        self.append_failed = False
        self._replaced: dict[threading.Timer, ESDBConnection] = {}
        # The store's, as its answers to reads tell it.
        self.clock: Final = clock or OtherClock()
        self._discover_by = time.monotonic() + _SECONDS_TO_DISCOVER
        super().__init__(uri)

    append_to_stream = _noted(_in_time(EventStoreDBClient.append_to_stream))
    get_stream = _in_time(EventStoreDBClient.get_stream)
    get_commit_position = _in_time(EventStoreDBClient.get_commit_position)
    get_subscription_info = _in_time(EventStoreDBClient.get_subscription_info)
    create_subscription_to_all = _in_time(EventStoreDBClient.create_subscription_to_all)
    update_subscription_to_all = _in_time(EventStoreDBClient.update_subscription_to_all)
    delete_subscription = _in_time(EventStoreDBClient.delete_subscription)
    list_subscriptions = _in_time(EventStoreDBClient.list_subscriptions)
    replay_parked_events = _in_time(EventStoreDBClient.replay_parked_events)

    def store_time(self, *, timeout: float) -> datetime:
        """The time by the store's clock, by which it says when events were recorded.

        Asks the store if it has said nothing lately; `timeout` is in seconds.

        Raises:
            EventStoreDBClientException: it does not answer.
        """
        if not self.clock.is_fresh:
            self.get_commit_position(timeout=timeout)
        return self.clock.now()

    def reconnect(self, grpc_target: str | None = None) -> None:
        self.replace(self._connection, grpc_target)

    def replace(
        self,
        connection: ESDBConnection,
        grpc_target: str | None = None,
        *,
        by: float | None = None,
    ) -> None:
        """Put a new connection in the place of this one, unless another thread has done so.

        By the time `by`, as `time.monotonic` counts.

        Raises:
            DiscoveryFailed: no node of the cluster was found in time.
        """
        soon = time.monotonic() + _SECONDS_TO_DISCOVER
        by = soon if by is None else min(soon, by)
        if not self._reconnection_lock.acquire(timeout=max(0.0, by - time.monotonic())):
            raise DiscoveryFailed("another thread has been looking for too long")
        try:
            if self._connection is not connection:
                return
            self._discover_by = by
            self._connection = self._connect(grpc_target)
        finally:
            self._reconnection_lock.release()
        if connection is self.worked:
            self._close_later(connection)
        else:
            connection.close()

    def _discover_preferred_node(self) -> ESDBConnection:
        """Ask the nodes of a cluster which of them to use, again and again while there is time.

        esdbclient asks each for 5 s, and all ten times.
        """
        options = self.connection_spec.options
        options._MaxDiscoverAttempts = 1  # noqa: SLF001
        while True:
            left = self._discover_by - time.monotonic()
            each = max(left, 0.1) / len(self.connection_spec.targets)
            options._GossipTimeout = cast(int, each)  # noqa: SLF001
            try:
                return super()._discover_preferred_node()
            except DiscoveryFailed:
                if time.monotonic() + _SECONDS_BETWEEN_TRIES >= self._discover_by:
                    raise
            time.sleep(_SECONDS_BETWEEN_TRIES)

    def _close_later(self, connection: ESDBConnection) -> None:
        timer = threading.Timer(self._seconds_until_closed, lambda: self._close_replaced(timer))
        timer.daemon = True
        self._replaced[timer] = connection
        timer.start()

    @property
    def connections_left(self) -> int:
        """How many connections were replaced, and are not closed yet."""
        return len(self._replaced)

    def _close_replaced(self, timer: threading.Timer) -> None:
        connection = self._replaced.pop(timer, None)
        if connection is not None:
            connection.close()

    def close(self) -> None:
        for timer in list(self._replaced):
            timer.cancel()
            self._close_replaced(timer)
        super().close()

    def _construct_esdb_connection(
        self, grpc_target: str, grpc_options: GrpcOptions = ()
    ) -> ESDBConnection:
        channel = self._construct_grpc_channel(grpc_target, (*grpc_options, *_CHANNEL_OPTIONS))
        connection = ESDBConnection(channel, grpc_target, self.connection_spec)
        reads = _WholeReads(channel, self.connection_spec, connection._grpc_streamers)  # noqa: SLF001
        reads.clock = self.clock
        connection.streams = reads
        return connection
