"""A client that sends any frames it likes, and shows what the server answers."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from lepret.eventstore.wire.http2 import frames
from lepret.eventstore.wire.http2.frames import ErrorCode, FrameType, Setting
from lepret.eventstore.wire.http2.headers import encode_headers
from tests.support.processes import PATIENCE

READ = "/event_store.client.streams.Streams/Read"
APPEND = "/event_store.client.streams.Streams/BatchAppend"


@dataclass(frozen=True)
class Frame:
    """A frame from the server."""

    kind: int
    flags: int
    stream: int
    payload: bytes

    @property
    def error(self) -> ErrorCode:
        """The error code of a GOAWAY or RST_STREAM frame."""
        start = 4 if self.kind == FrameType.GOAWAY else 0
        return ErrorCode(int.from_bytes(self.payload[start : start + 4]))


class RawClient:
    """An open connection."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection

    def send(self, data: bytes) -> bool:
        """Send bytes; False if the server has closed the connection meanwhile."""
        try:
            self.socket.sendall(data)
        except OSError:
            return False
        return True

    def frames(self) -> Iterator[Frame]:
        """Frames from the server, until it closes the connection."""
        buffer = b""
        while True:
            try:
                received = self.socket.recv(65536)
            except ConnectionResetError:
                received = b""
            if not received:
                return
            buffer += received
            while len(buffer) >= frames.HEADER_SIZE:
                length, kind, flags, stream = frames.parse_header(buffer, 0)
                end = frames.HEADER_SIZE + length
                if len(buffer) < end:
                    break
                yield Frame(kind, flags, stream, buffer[frames.HEADER_SIZE : end])
                buffer = buffer[end:]

    def goaway(self) -> Frame | None:
        """The frame with which the server ends the connection; None without one."""
        return next((each for each in self.frames() if each.kind == FrameType.GOAWAY), None)

    def pong(self) -> list[Frame]:
        """The frames up to the answer to a ping: those to everything sent before."""
        self.send(ping())
        before: list[Frame] = []
        for each in self.frames():
            if each.kind == FrameType.PING:
                return before
            before.append(each)
        raise AssertionError("the server has closed the connection")


@contextmanager
def raw_client(port: int, *, window: int = frames.DEFAULT_WINDOW) -> Iterator[RawClient]:
    """Connect as any HTTP/2 client does; ``window`` is what the server may send on a stream."""
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as connection:
        client = RawClient(connection)
        client.send(frames.PREFACE + frames.settings({Setting.INITIAL_WINDOW_SIZE: window}))
        yield client


def ping() -> bytes:
    return frames.frame(FrameType.PING, 0, 0, bytes(8))


def call(stream: int, path: str = READ, *, end: bool = False) -> bytes:
    """The headers of a gRPC call."""
    block = encode_headers(
        [
            (b":method", b"POST"),
            (b":scheme", b"http"),
            (b":path", path.encode()),
            (b":authority", b"localhost"),
            (b"content-type", b"application/grpc"),
            (b"te", b"trailers"),
        ]
    )
    flags = frames.END_HEADERS | (frames.END_STREAM if end else 0)
    return frames.frame(FrameType.HEADERS, flags, stream, block)


def data(stream: int, payload: bytes, *, end: bool = False) -> bytes:
    return frames.frame(FrameType.DATA, frames.END_STREAM if end else 0, stream, payload)


def message(payload: bytes) -> bytes:
    """A gRPC message."""
    return b"\0" + len(payload).to_bytes(4) + payload
