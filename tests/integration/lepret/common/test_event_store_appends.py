"""An append to a server that, as EventStoreDB, goes on with the call after its answer."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any
from uuid import uuid4

import grpc
import pytest
from esdbclient import NewEvent, StreamState
from esdbclient.exceptions import EventStoreDBClientException, WrongCurrentVersion
from esdbclient.protos.Grpc import shared_pb2, status_pb2, streams_pb2, streams_pb2_grpc
from google.protobuf import any_pb2, empty_pb2

from lepret.common.event_store_connection import SharedClient
from tests.support.processes import PATIENCE

CALLS_AT_ONCE = 4

Answer = streams_pb2.BatchAppendResp
Answers = Callable[[], Answer | None]


class Streams(streams_pb2_grpc.StreamsServicer):
    """Ends no call. `answers` are given in turn; `None` ends one without an answer."""

    def __init__(self) -> None:
        self.answers: Answers = recorded
        self.ended: queue.Queue[None] = queue.Queue()

    def BatchAppend(  # noqa: N802
        self, requests: Iterator[Any], context: grpc.ServicerContext
    ) -> Iterator[Answer]:
        assert next(requests).is_final
        if (answer := self.answers()) is None:
            return
        is_over = threading.Event()
        context.add_callback(is_over.set)
        context.add_callback(lambda: self.ended.put(None))
        yield answer
        is_over.wait(2 * PATIENCE)


def recorded() -> Answer:
    answer = Answer()
    answer.success.position.commit_position = 7
    return answer


def refused() -> Answer:
    details = any_pb2.Any()
    details.Pack(shared_pb2.WrongExpectedVersion(current_stream_revision=3))
    return Answer(error=status_pb2.Status(details=details))


def not_ready() -> Answer:
    details = any_pb2.Any()
    details.Pack(empty_pb2.Empty())
    return Answer(error=status_pb2.Status(details=details, message="Server Is Not Ready"))


@pytest.fixture
def streams() -> Streams:
    return Streams()


@pytest.fixture
def client(streams: Streams) -> Iterator[SharedClient]:
    with ThreadPoolExecutor(CALLS_AT_ONCE) as threads:
        server = grpc.server(threads)
        streams_pb2_grpc.add_StreamsServicer_to_server(streams, server)  # type: ignore[no-untyped-call]
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        with closing(SharedClient(f"esdb://127.0.0.1:{port}?tls=false")) as client:
            yield client
        server.stop(None).wait(PATIENCE)


def append(client: SharedClient) -> int:
    return client.append_to_stream(
        f"stream-{uuid4()}",
        current_version=StreamState.NO_STREAM,
        events=NewEvent(type="Happened", data=b"{}"),
        timeout=PATIENCE,
    )


def test_ends_the_call_once_it_is_answered(client: SharedClient, streams: Streams) -> None:
    # More calls than the server goes on with at once.
    for _ in range(5 * CALLS_AT_ONCE):
        assert append(client) == 7
        streams.ended.get(timeout=PATIENCE)


def test_ends_the_call_once_it_is_refused(client: SharedClient, streams: Streams) -> None:
    streams.answers = refused
    for _ in range(5 * CALLS_AT_ONCE):
        with pytest.raises(WrongCurrentVersion, match="is 3"):
            append(client)
        streams.ended.get(timeout=PATIENCE)


@pytest.mark.parametrize("first", [not_ready, lambda: None], ids=["not ready", "no answer"])
def test_is_sent_again_if_the_server_could_not_take_it(
    client: SharedClient, streams: Streams, first: Answers
) -> None:
    answers = iter([first(), recorded()])
    streams.answers = lambda: next(answers)
    assert append(client) == 7


def test_has_failed_if_the_server_goes_on_not_to_take_it(
    client: SharedClient, streams: Streams
) -> None:
    streams.answers = not_ready
    with pytest.raises(EventStoreDBClientException, match="Not Ready"):
        append(client)
    assert client.append_failed
