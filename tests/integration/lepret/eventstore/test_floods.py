"""Clients that send what no client should: the server ends them, and goes on serving others."""

from __future__ import annotations

import itertools
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from esdbclient import EventStoreDBClient, NewEvent
from esdbclient.protos.Grpc import shared_pb2, streams_pb2

from lepret.eventstore.server import MAX_CONNECTIONS
from lepret.eventstore.wire.http2 import frames
from lepret.eventstore.wire.http2.connection import (
    CONNECTION_WINDOW,
    MAX_STREAMS,
    STREAM_WINDOW,
    Limits,
)
from lepret.eventstore.wire.http2.frames import ErrorCode, FrameType
from tests.integration.lepret.eventstore.conftest import Connect
from tests.integration.lepret.eventstore.events import append, new_events, new_stream
from tests.integration.lepret.eventstore.raw_http2 import (
    APPEND,
    RawClient,
    call,
    data,
    message,
    ping,
    raw_client,
)
from tests.support.event_store import EmbeddedEventStore
from tests.support.processes import PATIENCE, resident_bytes

MB = 1_000_000
FLOOD = 10 * (Limits().frames + Limits().resets)
FRAME = bytes(frames.DEFAULT_MAX_FRAME)

Options = streams_pb2.ReadReq.Options

Flood = Callable[[], Iterator[bytes]]


def _repeated(data: bytes) -> Flood:
    return lambda: itertools.repeat(data, FLOOD)


def _resets() -> Iterator[bytes]:
    for stream in range(1, 2 * FLOOD, 2):
        yield call(stream) + frames.rst_stream(stream, ErrorCode.CANCEL)


def _resets_by_the_server() -> Iterator[bytes]:
    """Each stream's window overflows, so that the server has to reset it."""
    for stream in range(1, 2 * FLOOD, 2):
        yield call(stream) + frames.window_update(stream, frames.MAX_WINDOW)


def _too_many_streams() -> Iterator[bytes]:
    return (call(stream) for stream in range(1, 2 * FLOOD, 2))


def _on_a_call(data: bytes) -> Flood:
    return lambda: itertools.chain([call(1, APPEND)], itertools.repeat(data, FLOOD))


FLOODS: dict[str, Flood] = {
    "settings": _repeated(frames.frame(FrameType.SETTINGS, 0, 0)),
    "large settings": _repeated(frames.frame(FrameType.SETTINGS, 0, 0, b"\0\4\0\0\xff\xff" * 2700)),
    "settings acknowledged": _repeated(frames.frame(FrameType.SETTINGS, frames.ACK, 0)),
    "pings": _repeated(ping()),
    "pongs": _repeated(frames.frame(FrameType.PING, frames.ACK, 0, bytes(8))),
    "priorities": _repeated(frames.frame(FrameType.PRIORITY, 0, 1, bytes(5))),
    "unknown frames": _repeated(
        frames.frame_header(FrameType.DATA, 0, 0, 0)[:3] + b"\xfa" + bytes(5)
    ),
    "goaways": _repeated(frames.goaway(0, ErrorCode.NO_ERROR)),
    "tiny windows": _repeated(frames.window_update(0, 1)),
    "tiny windows of a stream": _on_a_call(frames.window_update(1, 1)),
    "empty data": _on_a_call(data(1, b"")),
    "padding only": _on_a_call(frames.frame(FrameType.DATA, frames.PADDED, 1, b"\2\0\0")),
    "empty continuations": lambda: itertools.chain(
        [frames.frame(FrameType.HEADERS, 0, 1)],
        itertools.repeat(frames.frame(FrameType.CONTINUATION, 0, 1), FLOOD),
    ),
    "large continuations": lambda: itertools.chain(
        [frames.frame(FrameType.HEADERS, 0, 1)],
        itertools.repeat(frames.frame(FrameType.CONTINUATION, 0, 1, FRAME), 1000),
    ),
    "resets": _resets,
    "resets by the server": _resets_by_the_server,
    "too many streams": _too_many_streams,
}


@pytest.mark.parametrize("flood", FLOODS.values(), ids=FLOODS.keys())
def test_a_flood_ends_its_connection(
    embedded_event_store: EmbeddedEventStore, flood: Flood
) -> None:
    with raw_client(embedded_event_store.port) as attacker:
        for frame in flood():
            if not attacker.send(frame):
                break
        goaway = attacker.goaway()
    # An abrupt end may lose the frame on its way.
    assert goaway is None or goaway.error is ErrorCode.ENHANCE_YOUR_CALM
    with EventStoreDBClient(embedded_event_store.uri) as client:
        append(client, new_stream(), new_events(1))


def test_a_flood_is_told_why(embedded_event_store: EmbeddedEventStore) -> None:
    with raw_client(embedded_event_store.port) as attacker:
        attacker.send(ping() * (Limits().frames + 100))
        goaway = attacker.goaway()
    assert goaway is not None
    assert goaway.error is ErrorCode.ENHANCE_YOUR_CALM
    assert goaway.payload[8:] == b"too many frames without work"


def test_keepalive_pings_are_taken(embedded_event_store: EmbeddedEventStore) -> None:
    with raw_client(embedded_event_store.port) as client:
        for _ in range(100):
            client.pong()


@pytest.mark.parametrize(
    "noise",
    [
        b"POST /secret-of-a-client HTTP/1.1\r\n\r\n",
        # Header blocks that cannot be decoded: a wrong index, a number without end, no text.
        frames.PREFACE + frames.frame(FrameType.HEADERS, frames.END_HEADERS, 1, b"\xff" * 40),
        frames.PREFACE + frames.frame(FrameType.HEADERS, frames.END_HEADERS, 1, b"\x40\x0asecret"),
        frames.PREFACE + frames.frame(FrameType.HEADERS, frames.END_HEADERS, 1, b"\xbesecret"),
    ],
)
def test_no_answer_repeats_what_was_sent(
    embedded_event_store: EmbeddedEventStore, noise: bytes
) -> None:
    with socket.create_connection(("127.0.0.1", embedded_event_store.port), PATIENCE) as connection:
        connection.sendall(noise)
        goaway = RawClient(connection).goaway()
    assert goaway is not None
    assert b"secret" not in goaway.payload
    assert b"\\xff" not in goaway.payload


class TestWindows:
    def test_data_beyond_the_streams(self, embedded_event_store: EmbeddedEventStore) -> None:
        """The call is never answered, so nothing of what it got is consumed."""
        with raw_client(embedded_event_store.port) as attacker:
            attacker.send(call(1) + data(1, message(_subscription())))
            small = message(bytes(8)) * 1000
            # Not much beyond: what is sent after the end could lose its frame on the way.
            for _ in range(STREAM_WINDOW // len(small) + 1):
                attacker.send(data(1, small))
            goaway = attacker.goaway()
        assert goaway is not None
        assert goaway.error is ErrorCode.FLOW_CONTROL_ERROR

    def test_data_beyond_the_connections(self, embedded_event_store: EmbeddedEventStore) -> None:
        with raw_client(embedded_event_store.port) as attacker:
            small = message(bytes(8)) * 1000
            for stream in range(1, 2 * MAX_STREAMS, 2):
                attacker.send(call(stream) + data(stream, message(_subscription())))
                for _ in range(STREAM_WINDOW // 2 // len(small)):
                    attacker.send(data(stream, small))
            goaway = attacker.goaway()
        assert goaway is None or goaway.error is ErrorCode.FLOW_CONTROL_ERROR
        assert MAX_STREAMS * STREAM_WINDOW // 2 > CONNECTION_WINDOW

    def test_nothing_is_given_back_for_what_waits(
        self, embedded_event_store: EmbeddedEventStore
    ) -> None:
        with raw_client(embedded_event_store.port) as client:
            client.send(call(1) + data(1, message(_subscription())))
            small = message(bytes(8)) * 1000
            for _ in range(STREAM_WINDOW // len(small) - 1):
                client.send(data(1, small))
            answers = client.pong()
        assert not [a for a in answers if (a.kind, a.stream) == (FrameType.WINDOW_UPDATE, 1)]

    def test_data_after_the_end(self, embedded_event_store: EmbeddedEventStore) -> None:
        with raw_client(embedded_event_store.port) as attacker:
            attacker.send(call(1) + data(1, message(_subscription()), end=True) + data(1, b"x"))
            goaway = attacker.goaway()
        assert goaway is not None
        assert goaway.error is ErrorCode.STREAM_CLOSED

    def test_streams_at_once(self, embedded_event_store: EmbeddedEventStore) -> None:
        with raw_client(embedded_event_store.port) as client:
            for stream in range(1, 2 * (MAX_STREAMS + 5), 2):
                client.send(call(stream))
            refused = [a for a in client.pong() if a.kind == FrameType.RST_STREAM]
        assert [a.error for a in refused] == [ErrorCode.REFUSED_STREAM] * 5


class TestMemory:
    def test_of_messages_that_never_end(self, store: EmbeddedEventStore) -> None:
        """A hundred calls on each of four connections begin a message of 16 MB."""
        before = resident_bytes(store.pid)
        begun = b"\0" + (16 * 1024 * 1024).to_bytes(4) + FRAME[5:]
        with ExitStack() as clients:
            for _ in range(4):
                attacker = clients.enter_context(raw_client(store.port))
                for stream in range(1, 200, 2):
                    attacker.send(call(stream, APPEND) + data(stream, begun))
                    for _ in range(15):
                        attacker.send(data(stream, FRAME))
                attacker.pong()
            assert resident_bytes(store.pid) - before < 150 * MB
            with EventStoreDBClient(store.uri) as client:
                append(client, new_stream(), new_events(10))

    def test_of_answers_that_nobody_reads(self, store: EmbeddedEventStore) -> None:
        """A thousand subscriptions to large events, with windows for their first words only."""
        with EventStoreDBClient(store.uri) as client:
            for _ in range(20):
                append(client, new_stream(), [NewEvent(type="Big", data=bytes(900_000))])
            before = resident_bytes(store.pid)
            with ExitStack() as clients:
                for _ in range(4):
                    attacker = clients.enter_context(raw_client(store.port, window=200))
                    for stream in range(1, 2 * MAX_STREAMS, 2):
                        attacker.send(call(stream) + data(stream, message(_subscription())))
                    attacker.pong()
                append(client, new_stream(), new_events(10))
                assert resident_bytes(store.pid) - before < 350 * MB

    def test_of_a_client_that_reads_nothing_at_all(self, store: EmbeddedEventStore) -> None:
        before = resident_bytes(store.pid)
        with raw_client(store.port, window=frames.MAX_WINDOW) as attacker:
            attacker.send(frames.window_update(0, frames.MAX_WINDOW - frames.DEFAULT_WINDOW))
            with EventStoreDBClient(store.uri) as client:
                for _ in range(20):
                    append(client, new_stream(), [NewEvent(type="Big", data=bytes(900_000))])
                for stream in range(1, 2 * MAX_STREAMS, 2):
                    attacker.send(call(stream) + data(stream, message(_subscription())))
                append(client, new_stream(), new_events(10))
            assert resident_bytes(store.pid) - before < 350 * MB


class TestConnections:
    def test_the_idlest_makes_room(self, store: EmbeddedEventStore, connect: Connect) -> None:
        busy = connect(store.uri)
        append(busy, new_stream(), new_events(1))
        with busy.subscribe_to_all(timeout=PATIENCE) as subscription, ExitStack() as idle:
            next(subscription)
            for _ in range(MAX_CONNECTIONS + 50):
                idle.enter_context(socket.create_connection(("127.0.0.1", store.port), PATIENCE))
            stream = new_stream()
            append(connect(store.uri), stream, new_events(3))
            append(busy, stream, new_events(1))
            received = (event for event in subscription if event.stream_name == stream)
            assert [event.stream_position for event in itertools.islice(received, 4)] == [
                0,
                1,
                2,
                3,
            ]

    def test_one_that_does_not_speak_is_closed(
        self, embedded_event_store: EmbeddedEventStore
    ) -> None:
        with socket.create_connection(
            ("127.0.0.1", embedded_event_store.port), PATIENCE
        ) as connection:
            connection.sendall(frames.PREFACE[:5])
            answers = list(RawClient(connection).frames())  # Ends when the server hangs up.
        assert not answers


def _subscription() -> bytes:
    """A subscription to everything, from the start."""
    return streams_pb2.ReadReq(
        options=Options(
            all=Options.AllOptions(start=shared_pb2.Empty()),
            subscription=Options.SubscriptionOptions(),
            no_filter=shared_pb2.Empty(),
            uuid_option=Options.UUIDOption(string=shared_pb2.Empty()),
        )
    ).SerializeToString()
