"""Clients that append while the server fails and restarts, and check the log afterwards."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate

import grpc
from esdbclient import EventStoreDBClient, RecordedEvent
from esdbclient.protos.Grpc.streams_pb2 import BatchAppendResp
from esdbclient.protos.Grpc.streams_pb2_grpc import StreamsStub
from google.protobuf import empty_pb2

from tests.integration.lepret.eventstore.batches import Batch, new_batch
from tests.integration.lepret.eventstore.events import commit_position, new_stream
from tests.support.processes import PATIENCE, wait_until

_CONNECT_AGAIN_QUICKLY = [
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 20),
    ("grpc.min_reconnect_backoff_ms", 20),
    ("grpc.max_reconnect_backoff_ms", 100),
]


@dataclass(frozen=True)
class Place:
    """The revision and position of an append's last event, in the answer and in the log."""

    revision: int
    position: int


@dataclass(frozen=True)
class Acknowledged:
    """An append and its answer."""

    batch: Batch
    place: Place

    @property
    def stream(self) -> str:
        return self.batch.options.stream_identifier.stream_name.decode()

    @property
    def ids(self) -> list[str]:
        return [message.id.string for message in self.batch.proposed_messages]


class Writer:
    """Appends to streams of its own, and retries each append until it is answered."""

    def __init__(self, streams: StreamsStub, stop: threading.Event) -> None:
        self.acknowledged: list[Acknowledged] = []
        self.unanswered = 0
        """The number of calls that ended without an answer and were retried."""
        self._streams = streams
        self._stop = stop

    def write(self) -> None:
        while not self._stop.is_set():
            before = self.unanswered
            batch = self._next_batch()
            self.acknowledged.append(Acknowledged(batch, self._append(batch)))
            if self.unanswered > before:
                self._append_old_ones_again()

    def _next_batch(self) -> Batch:
        """One to three events that expect *no stream*, *any* or an exact revision, in turn."""
        number = len(self.acknowledged)
        events = 1 + number // 3 % 3
        if number % 3 == 0:
            batch = new_batch(new_stream(), events)
            if number % 2:
                batch.options.no_stream.CopyFrom(empty_pb2.Empty())
            return batch
        last = self.acknowledged[-1]
        batch = new_batch(last.stream, events)
        if number % 3 == 1:
            batch.options.stream_position = last.place.revision
        return batch

    def _append(self, batch: Batch) -> Place:
        while (answer := self._answer(batch)) is None:
            self.unanswered += 1
        if answer.WhichOneof("result") != "success":
            raise AssertionError(f"{self}: {batch} was refused: {answer}")
        return Place(answer.success.current_revision, answer.success.position.commit_position)

    def _answer(self, batch: Batch) -> BatchAppendResp | None:
        """None if the server went away before it answered."""
        try:
            (answer,) = self._streams.BatchAppend(
                iter([batch]), timeout=PATIENCE, wait_for_ready=True
            )
        except grpc.RpcError as error:
            if _server_went_away(error):
                return None
            raise
        assert isinstance(answer, BatchAppendResp)
        return answer

    def _append_old_ones_again(self) -> None:
        for old in self.acknowledged[-3:]:
            again = self._append(old.batch)
            assert again == old.place, f"{self}: first {old}, then {again}"

    def __str__(self) -> str:
        return f"{len(self.acknowledged)} acknowledged, {self.unanswered} calls unanswered"


class Writers:
    """Several running writers."""

    def __init__(self, writers: list[Writer], writing: list[Future[None]]) -> None:
        self._writers = writers
        self._writing = writing

    @property
    def acknowledged(self) -> list[Acknowledged]:
        return [append for writer in self._writers for append in writer.acknowledged]

    @property
    def unanswered(self) -> int:
        return sum(writer.unanswered for writer in self._writers)

    def wait_for(self, appends: int) -> None:
        """Wait until ``appends`` more are acknowledged; raises a failed writer's error."""
        target = len(self.acknowledged) + appends

        def enough() -> bool:
            for future in self._writing:
                if future.done():
                    future.result()
            return len(self.acknowledged) >= target

        wait_until(enough, what=f"{appends} more than {self}", every=0.001)

    def assert_the_log_holds_what_was_acknowledged(self, client: EventStoreDBClient) -> None:
        """Each append is in the log once, complete, in order, at the place in its answer.

        The log has no gaps. The streams hold nothing else: each append was retried until it was
        answered.
        """
        positions = [commit_position(event) for event in client.read_all(filter_exclude=())]
        assert positions == list(range(1, len(positions) + 1)), str(self)
        for stream, appends in self._by_stream().items():
            _assert_holds(client.get_stream(stream), appends)

    def _by_stream(self) -> dict[str, list[Acknowledged]]:
        streams: dict[str, list[Acknowledged]] = {}
        for append in self.acknowledged:
            streams.setdefault(append.stream, []).append(append)
        return streams

    def __str__(self) -> str:
        return "; ".join(map(str, self._writers))


def _server_went_away(error: grpc.RpcError) -> bool:
    return isinstance(error, grpc.Call) and error.code() is grpc.StatusCode.UNAVAILABLE


def _assert_holds(events: Sequence[RecordedEvent], appends: list[Acknowledged]) -> None:
    """The stream has the events of the appends and no others."""
    assert [event.stream_position for event in events] == list(range(len(events)))
    assert [str(event.id) for event in events] == [id_ for append in appends for id_ in append.ids]
    ends = accumulate(len(append.ids) for append in appends)
    last_events = [events[end - 1] for end in ends]
    places = [Place(event.stream_position, commit_position(event)) for event in last_events]
    assert places == [append.place for append in appends]


@contextmanager
def writers(port: int, count: int) -> Iterator[Writers]:
    """Run ``count`` writers until the block ends; the server must be running then."""
    stop = threading.Event()
    address = f"127.0.0.1:{port}"
    with ThreadPoolExecutor(count) as threads:
        channels = [grpc.insecure_channel(address, _CONNECT_AGAIN_QUICKLY) for _ in range(count)]
        all_ = [Writer(StreamsStub(channel), stop) for channel in channels]  # type: ignore[no-untyped-call]
        writing = [threads.submit(writer.write) for writer in all_]
        try:
            yield Writers(all_, writing)
        finally:
            stop.set()
        for future in writing:
            future.result(PATIENCE)
        for channel in channels:
            channel.close()
