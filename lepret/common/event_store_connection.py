"""A client of the event store whose threads do not break each other's calls.

When a call of esdbclient's finds the connection broken, it replaces the connection that all threads
share and closes the old one. Reads that are under way on it then end early, as if they were
complete; it tries again after its time is over, and so takes twice the time that it was given. And
it looks for a cluster's leader only once a connection breaks, one node after the other.
"""

from __future__ import annotations

import inspect
import itertools
import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import partial, wraps
from pathlib import Path
from typing import Any, Final, TypeVar, cast
from uuid import uuid4

import grpc
from esdbclient import EventStoreDBClient, NewEvent, RecordedEvent, StreamState
from esdbclient.common import (
    AbstractReadResponse,
    GrpcOptions,
    GrpcStreamers,
    Metadata,
    handle_rpc_error,
)
from esdbclient.connection import ESDBConnection
from esdbclient.connection_spec import ConnectionSpec
from esdbclient.exceptions import (
    AbortedByServer,
    CancelledByClient,
    DeadlineExceeded,
    EventStoreDBClientException,
    GrpcDeadlineExceeded,
    GrpcError,
    LeaderNotFound,
    NodeIsNotLeader,
    NotFound,
    ServiceUnavailable,
    WrongCurrentVersion,
)
from esdbclient.persistent import PersistentSubscription
from esdbclient.protos.Grpc import streams_pb2
from esdbclient.streams import CatchupSubscription, ReadResponse, StreamsService
from google.protobuf import empty_pb2
from grpc.experimental import ChannelOptions

from lepret.common.event_store_appends import looked_up, recorded_at
from lepret.common.event_store_calls import lean
from lepret.common.event_store_channels import is_cluster, with_keepalive
from lepret.common.event_store_cluster import SECONDS_TO_ANSWER, Cluster
from lepret.common.event_store_refusals import DENIED, note_method, status_of
from lepret.common.event_store_streamers import use_reentrant_streamers
from lepret.common.other_clocks import OtherClock
from lepret.common.patience import waiting

# No call with a deadline lasts longer. Subscriptions do, but end with their broken connection.
SECONDS_UNTIL_CLOSED: Final = 15.0
_SECONDS_BETWEEN_TRIES: Final = 0.1
_MOST_TRIES: Final = 2
# How long a call without a deadline, such as one that subscribes, looks for the leader.
_SECONDS_TO_FIND_LEADER: Final = 5.0
# How often it is asked who leads, as long as somebody calls: a deposed leader may not know it.
_SECONDS_BETWEEN_LOOKS: Final = 5.0
# A channel that another one has replaced must not share with it how long it waits to reconnect.
_CHANNEL_OPTIONS: Final[GrpcOptions] = (
    ("grpc.use_local_subchannel_pool", 1),
    # Receives the messages of a stream in the thread that reads them. By default gRPC receives them
    # in another thread, which takes twice the time.
    (ChannelOptions.SingleThreadedUnaryStream, 1),
)

# A name may stand for all nodes: one that answers is asked.
_GOSSIP_OPTIONS: Final[GrpcOptions] = (
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.lb_policy_name", "round_robin"),
)

Method = TypeVar("Method", bound=Callable[..., Any])

use_reentrant_streamers()


class ReadCutOff(GrpcError):
    """A read ended before the server said that this was all."""


class FilesUnreadable(EventStoreDBClientException):
    """Files that the URI names, such as `tlsCaFile`, cannot be read."""


class _WholeRead(AbstractReadResponse):
    """The events of a read, which ends only if they were all. `clock` hears when it was.

    `failed` is told of what ends it, since whoever called for the read has its answer already.
    """

    def __init__(
        self, response: ReadResponse, clock: OtherClock, failed: Callable[[Exception], None]
    ) -> None:
        self._response = response
        self._failed = failed
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
        except EventStoreDBClientException as error:
            self._failed(error)
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


class _Streams(StreamsService):
    """Reads are whole, and an append is one request."""

    clock: OtherClock
    failed: Callable[[Exception], None]

    def __init__(
        self, channel: grpc.Channel, spec: ConnectionSpec, grpc_streamers: GrpcStreamers
    ) -> None:
        super().__init__(channel, spec, grpc_streamers)
        self._stub.Read = lean(self._stub.Read)
        # To esdbclient, an append is a stream of requests, for which gRPC starts a thread.
        self._append = lean(
            channel.unary_stream(
                "/event_store.client.streams.Streams/BatchAppend",
                request_serializer=streams_pb2.BatchAppendReq.SerializeToString,
                response_deserializer=streams_pb2.BatchAppendResp.FromString,
            )
        )

    def batch_append(
        self,
        stream_name: str,
        current_version: int | StreamState,
        events: Iterable[NewEvent],
        timeout: float | None = None,
        metadata: Metadata | None = None,
        credentials: grpc.CallCredentials | None = None,
    ) -> int:
        request = self._construct_batch_append_req(
            stream_name, current_version, events, uuid4(), timeout
        )
        call = self._append(
            request,
            timeout=timeout,
            metadata=self._metadata(metadata, requires_leader=True),
            credentials=credentials,
        )
        try:
            answer = next(call, None)
        except grpc.RpcError as error:
            raise handle_rpc_error(error) from None
        finally:
            # EventStoreDB ends few of these calls itself, and none that it has refused.
            call.cancel()
        if answer is None:
            raise ServiceUnavailable("The call ended without an answer")
        if answer.error.details.Is(empty_pb2.Empty.DESCRIPTOR):
            # It is starting, is busy, or has no leader.
            raise ServiceUnavailable(answer.error.message)
        return self._convert_batch_append_resp(answer, stream_name, current_version)

    def read(self, **options: Any) -> Any:
        response = super().read(**options)
        if options.get("subscribe"):
            return response
        return _WholeRead(response, self.clock, self.failed)


def _in_time(method: Method) -> Method:
    """Try again, over a new connection, if the first one broke; all within `timeout`.

    A single node is tried twice, a cluster until there is a leader that answers.
    """
    once = inspect.unwrap(method)  # without esdbclient's own tries

    @wraps(method)
    def call(self: SharedClient, *args: Any, timeout: float | None = None, **kwargs: Any) -> Any:
        try:
            with _closed_is_unavailable(), waiting(timeout) as seconds:
                return tried(self, *args, timeout=seconds, **kwargs)
        except TimeoutError:
            raise GrpcDeadlineExceeded from None

    def tried(self: SharedClient, *args: Any, timeout: float | None, **kwargs: Any) -> Any:
        deadline = None if timeout is None else time.monotonic() + timeout
        for tries in itertools.count(1):
            connection = self.find_leader(within=_left(deadline))
            try:
                result = once(self, *args, timeout=_left(deadline), **kwargs)
            except Exception as error:
                note_method(error, method.__name__)
                self.note_failure(connection, error)
                has_tried_enough = tries >= _MOST_TRIES and not (
                    self.is_cluster and deadline is not None and _is_broken_by(error)
                )
                if has_tried_enough or not _is_worth_another_try(error):
                    raise
                time.sleep(_SECONDS_BETWEEN_TRIES)
                if _left(deadline) == 0:
                    raise
            else:
                self.worked = connection
                return result
        raise AssertionError("the last try returns or raises")

    return cast(Method, call)


@contextmanager
def _closed_is_unavailable() -> Iterator[None]:
    """In an outage, threads close connections that did not work while others turn to them."""
    try:
        yield
    except ValueError as error:
        if _is_of_a_closed_channel(error):
            raise ServiceUnavailable(error) from error
        raise


def _left(deadline: float | None) -> float | None:
    return None if deadline is None else max(0.0, deadline - time.monotonic())


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
    if isinstance(error, GrpcDeadlineExceeded) or status_of(error) in DENIED:
        return False
    return isinstance(error, (GrpcError, CancelledByClient)) or _is_broken_by(error)


def _is_broken_by(error: Exception) -> bool:
    return _is_of_a_closed_channel(error) or isinstance(
        error, (ServiceUnavailable, NodeIsNotLeader)
    )


def _is_of_a_closed_channel(error: Exception) -> bool:
    """Whether gRPC says that another thread has closed the channel."""
    return isinstance(error, ValueError) and any(
        words in str(error) for words in ("Channel closed", "closed channel")
    )


def _get_streams(
    client: EventStoreDBClient, *reads: Mapping[str, Any], timeout: float | None = None
) -> list[Sequence[RecordedEvent] | None]:
    """The events of several streams, read at the same time; `None` for one that does not exist.

    Each of `reads` has what `get_stream` would be called with.
    """
    with ExitStack() as begun:
        responses = [
            begun.enter_context(client.read_stream(**each, timeout=timeout)) for each in reads
        ]
        return [_all_if_any(response) for response in responses]


def _all_if_any(response: Iterable[RecordedEvent]) -> Sequence[RecordedEvent] | None:
    try:
        return tuple(response)
    except NotFound:
        return None


class SharedClient(EventStoreDBClient):
    """A client that many threads share.

    Raises:
        FilesUnreadable: files that the URI names cannot be read.
    """

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
        self._cluster: Cluster | None = None
        # The connection whose node may not lead, or does not answer; and one that is broken.
        self._doubted: ESDBConnection | None = None
        self._broken: ESDBConnection | None = None
        self._look_again_at = math.inf
        try:
            super().__init__(uri)
        except Exception as error:
            self._is_closed = True  # There is nothing to close.
            if isinstance(error, OSError):
                raise FilesUnreadable from error
            raise
        if is_cluster(self.connection_spec):
            self._cluster = Cluster(
                self.connection_spec.targets,
                open_channel=lambda node: self._construct_grpc_channel(node, _GOSSIP_OPTIONS),
                metadata=self._call_metadata,
                credentials=self._call_credentials,
            )
            # Whoever calls first finds the leader, within that call's time.
            self._doubted = self._connection

    append_to_stream = _noted(looked_up(_in_time(EventStoreDBClient.append_to_stream)))
    get_stream = _in_time(EventStoreDBClient.get_stream)
    get_streams = _in_time(_get_streams)
    get_commit_position = _in_time(EventStoreDBClient.get_commit_position)
    get_subscription_info = _in_time(EventStoreDBClient.get_subscription_info)
    create_subscription_to_all = _in_time(EventStoreDBClient.create_subscription_to_all)
    update_subscription_to_all = _in_time(EventStoreDBClient.update_subscription_to_all)
    delete_subscription = _in_time(EventStoreDBClient.delete_subscription)
    list_subscriptions = _in_time(EventStoreDBClient.list_subscriptions)
    replay_parked_events = _in_time(EventStoreDBClient.replay_parked_events)
    subscribe_to_all = _in_time(EventStoreDBClient.subscribe_to_all)
    read_subscription_to_all = _in_time(EventStoreDBClient.read_subscription_to_all)
    recorded_at = _in_time(recorded_at)

    def read_all(self, *, timeout: float | None = None, **options: Any) -> AbstractReadResponse:
        deadline = None if timeout is None else time.monotonic() + timeout
        self.find_leader(within=timeout)
        with _closed_is_unavailable():
            return super().read_all(timeout=_left(deadline), **options)

    # The connection ----------------------------------------------------------------------------

    @property
    def connection(self) -> ESDBConnection:
        """The connection that calls use at the moment."""
        return self._connection

    @property
    def is_cluster(self) -> bool:
        """Whether the URI names a cluster."""
        return self._cluster is not None

    def open_another(self) -> ESDBConnection:
        """Another connection to the same node, which the caller closes."""
        return self._construct_esdb_connection(self._connection.grpc_target)

    def read_options(self) -> dict[str, Any]:
        """What goes with each read of a connection."""
        return {"metadata": self._call_metadata, "credentials": self._call_credentials}

    def _connect(self, grpc_target: str | None = None) -> ESDBConnection:
        # esdbclient would look for the leader here, and hold up whoever needs the client.
        return self._construct_esdb_connection(grpc_target or self.connection_spec.targets[0])

    def find_leader(self, *, within: float | None) -> ESDBConnection:
        """The connection for the next call, after a search for the leader if it is in doubt.

        Raises:
            LeaderNotFound: a cluster has none that answers, for `within` seconds.
        """
        if self._connection is self._doubted:
            self._look(within=_SECONDS_TO_FIND_LEADER if within is None else within)
        elif time.monotonic() >= self._look_again_at:
            self._look_again_at = math.inf
            threading.Thread(target=self._look_again, name="leader", daemon=True).start()
        return self._connection

    def _look(self, *, within: float) -> None:
        give_up_at = time.monotonic() + within
        if not self._reconnection_lock.acquire(timeout=within):
            raise LeaderNotFound("Another thread has not found it in time")
        try:
            if self._connection is self._doubted:
                self._follow(max(0.0, give_up_at - time.monotonic()))
        finally:
            self._reconnection_lock.release()

    def _look_again(self) -> None:
        with self._reconnection_lock, suppress(EventStoreDBClientException):
            if not self.is_closed:
                self._follow(SECONDS_TO_ANSWER)

    def _follow(self, within: float) -> None:
        """Find the leader, and connect to it unless there is a connection that works."""
        assert self._cluster is not None
        try:
            leader = self._cluster.leader(within=within)
        finally:
            self._look_again_at = time.monotonic() + _SECONDS_BETWEEN_LOOKS
        old = self._connection
        if leader == old.grpc_target and old is not self._broken:
            self._doubted = None
            return
        self._connection = self._construct_esdb_connection(leader)
        if leader != old.grpc_target:
            _end_subscriptions(old)
        self._retire(old)

    def note_failure(self, connection: ESDBConnection, error: Exception) -> None:
        """Doubt or replace the connection over which a call failed, if that may be the cause."""
        if isinstance(error, (DeadlineExceeded, AbortedByServer)):
            if self._cluster is not None:
                self._cluster.suspect(connection.grpc_target)
                self._doubt(connection)
        elif _is_broken_by(error):
            self.replace(connection, getattr(error, "leader_grpc_target", None))

    def store_time(self, *, timeout: float) -> datetime:
        """The time by the store's clock, by which it says when events were recorded.

        Asks the store if it has said nothing lately; `timeout` is in seconds.

        Raises:
            EventStoreDBClientException: it does not answer.
        """
        if not self.clock.is_fresh:
            self.get_commit_position(timeout=timeout)
        return self.clock.now()

    def _doubt(self, connection: ESDBConnection) -> bool:
        """Have the next call look for the leader, unless another thread has replaced this one."""
        is_used = self._connection is connection
        if is_used:
            self._doubted = connection
        return is_used

    def reconnect(self, grpc_target: str | None = None) -> None:
        self.replace(self._connection, grpc_target)
        self.find_leader(within=None)

    def replace(self, connection: ESDBConnection, grpc_target: str | None = None) -> None:
        """Put a new connection in the place of this one, unless another thread has done so.

        In a cluster, the next call does it.
        """
        if self._cluster is not None:
            if self._doubt(connection):
                self._broken = connection
            return
        with self._reconnection_lock:
            if self._connection is not connection:
                return
            self._connection = self._connect(grpc_target)
        self._retire(connection)

    def _retire(self, connection: ESDBConnection) -> None:
        if connection is self.worked:
            self._close_later(connection)
        else:
            connection.close()

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
        if self.is_closed:
            return
        for timer in list(self._replaced):
            timer.cancel()
            self._close_replaced(timer)
        # A search that is under way would connect once more.
        has_lock = self._reconnection_lock.acquire(timeout=2 * SECONDS_TO_ANSWER)
        super().close()
        if has_lock:
            self._reconnection_lock.release()

    def _construct_grpc_channel(
        self, grpc_target: str, grpc_options: GrpcOptions = ()
    ) -> grpc.Channel:
        self.grpc_options = with_keepalive(self.grpc_options, self.connection_spec)
        if authorities := self.connection_spec.options.TlsCaFile:
            # It may have been corrected, or renewed.
            with suppress(OSError):
                self.root_certificates = Path(authorities).read_bytes()
        return super()._construct_grpc_channel(grpc_target, grpc_options)

    def _construct_esdb_connection(
        self, grpc_target: str, grpc_options: GrpcOptions = ()
    ) -> ESDBConnection:
        channel = self._construct_grpc_channel(grpc_target, (*grpc_options, *_CHANNEL_OPTIONS))
        connection = ESDBConnection(channel, grpc_target, self.connection_spec)
        streams = _Streams(channel, self.connection_spec, connection._grpc_streamers)  # noqa: SLF001
        streams.clock = self.clock
        streams.failed = partial(self.note_failure, connection)
        connection.streams = streams
        return connection


def _end_subscriptions(connection: ESDBConnection) -> None:
    """End those of a node that leads no more: they would go on, and miss what is recorded."""
    for streamer in connection._grpc_streamers:  # noqa: SLF001
        if isinstance(streamer, (CatchupSubscription, PersistentSubscription)):
            streamer._read_resps.cancel()  # noqa: SLF001
