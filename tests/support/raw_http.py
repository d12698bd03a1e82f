"""HTTP as a stranger may send it, byte by byte."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests.support.processes import PATIENCE
from tests.support.web_servers import WebServer


@dataclass(frozen=True)
class Answer:
    """An answer; `closed`: whether the server has closed the connection after it."""

    status: int
    headers: dict[str, str]
    body: bytes
    closed: bool

    def json(self) -> Any:
        """Its body, decoded."""
        return json.loads(self.body)


class Connection:
    """A connection to a web server."""

    def __init__(self, server: WebServer, address: str = "127.0.0.1") -> None:
        self._host = f"127.0.0.1:{server.port}"
        self._socket = socket.create_connection(
            ("127.0.0.1", server.port), PATIENCE, source_address=(address, 0)
        )
        self._received = b""

    def close(self) -> None:
        """Close it."""
        self._socket.close()

    def send(self, data: bytes) -> None:
        """Send these bytes; if the server has closed the connection, as many as possible."""
        with contextlib.suppress(ConnectionError):
            self._socket.sendall(data)

    def head(self, start: str, *headers: str) -> bytes:
        """The head of a request."""
        return "\r\n".join([f"{start} HTTP/1.1", f"Host: {self._host}", *headers, "", ""]).encode()

    def ask(self, start: str, *headers: str, body: bytes = b"") -> Answer:
        """Send a request, and wait for the answer."""
        self.send(self.head(start, *headers) + body)
        return self.answer(with_body=not start.startswith("HEAD"))

    def open_socket(self, path: str, *headers: str) -> Answer:
        """Ask for a websocket."""
        key = base64.b64encode(os.urandom(16)).decode()
        return self.ask(
            f"GET {path}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Key: {key}",
            "Sec-WebSocket-Version: 13",
            f"Origin: http://{self._host}",
            *headers,
        )

    def answer(self, *, with_body: bool = True) -> Answer:
        """Wait for an answer."""
        while b"\r\n\r\n" not in self._received:
            assert self._read_more(), f"closed after {self._received!r}"
        head, _, self._received = self._received.partition(b"\r\n\r\n")
        start, *lines = head.decode().split("\r\n")
        headers = {
            name.lower(): value.strip() for name, value in (line.split(":", 1) for line in lines)
        }
        length = int(headers.get("content-length", 0)) if with_body else 0
        while len(self._received) < length:
            assert self._read_more(), "closed before the end of the answer"
        body, self._received = self._received[:length], self._received[length:]
        closed = headers.get("connection") == "close" and self.is_closed()
        return Answer(int(start.split()[1]), headers, body, closed)

    def is_closed(self) -> bool:
        """Wait until the server closes the connection. False: it sends something instead."""
        return not self._read_more()

    def has_received(self, data: bytes) -> bool:
        """Whether these bytes have come in since the last answer."""
        return data in self._received

    def closes(self, *, trickle: bytes = b"") -> bool:
        """Wait until the server closes it, although these bytes come now and then."""
        deadline = time.monotonic() + PATIENCE
        self._socket.settimeout(0.1)
        while time.monotonic() < deadline:
            self.send(trickle)
            with contextlib.suppress(TimeoutError):
                if self.is_closed():
                    return True
        return False

    def _read_more(self) -> bool:
        try:
            data = self._socket.recv(65_536)
        except ConnectionError:
            return False
        self._received += data
        return bool(data)


@contextmanager
def connected(server: WebServer, address: str = "127.0.0.1") -> Iterator[Connection]:
    """A connection from this address, closed at the end of the block."""
    connection = Connection(server, address)
    try:
        yield connection
    finally:
        connection.close()


def frame(opcode: int, payload: bytes, *, fin: bool = True) -> bytes:
    """A websocket frame of a client (RFC 6455, section 5.2), masked with zeros."""
    first = bytes([(0x80 if fin else 0) | opcode])
    if len(payload) < 126:
        return first + bytes([0x80 | len(payload)]) + bytes(4) + payload
    return first + b"\xfe" + len(payload).to_bytes(2, "big") + bytes(4) + payload
