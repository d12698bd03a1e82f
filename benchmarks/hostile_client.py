"""One client that tries its worst, in a process of its own: see `hostile.py`.

    python -m benchmarks.hostile_client URL ATTACK SECONDS [CALLS]

It comes from 127.0.0.2, and prints how many times it has done it. With CALLS it ends after so many.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import logging
import os
import resource
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Final
from urllib.parse import urlsplit
from uuid import uuid4

ADDRESS: Final = "127.0.0.2"
_SECONDS_FOR_A_CALL: Final = 15.0

_UNKNOWN_FIELDS: Final = json.dumps({f"x{n}": 0 for n in range(6_000)}).encode()[:65_000]
_DEEP: Final = b"[" * 65_000
_FORM: Final = b"a=1&" * 16_000
_MEGABYTE: Final = bytes(1_000_000)


class Hostile:
    """Does the same thing again and again, over many connections at once."""

    def __init__(self, url: str, seconds: float, calls: int | None) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        assert parts.port is not None
        self._host, self._port = parts.hostname, parts.port
        self._until = time.monotonic() + seconds
        self._left = sys.maxsize if calls is None else calls
        self.done = 0

    async def run(self, attack: str) -> None:
        """Attack until the time is over."""
        each, connections = ATTACKS[attack]
        await asyncio.gather(*(self._repeat(each) for _ in range(connections)))

    async def _repeat(self, each: Callable[[Hostile], Awaitable[None]]) -> None:
        while time.monotonic() < self._until and self._left > 0:
            self._left -= 1
            with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
                async with asyncio.timeout(_SECONDS_FOR_A_CALL):
                    await each(self)
            self.done += 1

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A new connection."""
        return await asyncio.open_connection(self._host, self._port, local_addr=(ADDRESS, 0))

    def head(self, start: str, *headers: str) -> bytes:
        """The head of a request."""
        lines = [f"{start} HTTP/1.1", f"Host: {self._host}:{self._port}", *headers]
        return ("\r\n".join(lines) + "\r\n\r\n").encode()

    async def send(self, *parts: bytes) -> None:
        """Send a request over a connection of its own, and read until the server closes it."""
        reader, writer = await self.connect()
        try:
            for part in parts:
                writer.write(part)
                await writer.drain()
            while await reader.read(65_536):
                pass
        finally:
            writer.transport.abort()

    async def post(self, path: str, content_type: str, *body: bytes) -> None:
        """Send a body, and read the answer."""
        head = self.head(
            f"POST {path}",
            f"Content-Type: {content_type}",
            f"Content-Length: {sum(map(len, body))}",
            "Connection: close",
        )
        await self.send(head, *body)

    @property
    def is_over(self) -> bool:
        return time.monotonic() >= self._until


async def _unknown_fields(hostile: Hostile) -> None:
    await hostile.post("/api/loan-requests", "application/json", _UNKNOWN_FIELDS)


async def _deep(hostile: Hostile) -> None:
    await hostile.post("/api/loan-requests", "application/json", _DEEP)


async def _forms(hostile: Hostile) -> None:
    await hostile.post("/", "application/x-www-form-urlencoded", _FORM)


async def _large_bodies(hostile: Hostile) -> None:
    await hostile.post("/api/loan-requests", "application/json", *[_MEGABYTE] * 3)


async def _uploads(hostile: Hostile) -> None:
    await hostile.post("/validate/", "multipart/form-data; boundary=b", *[_MEGABYTE] * 20)


async def _chunks(hostile: Hostile) -> None:
    head = hostile.head("POST /admin/login/", "Transfer-Encoding: chunked")
    await hostile.send(head, b"1\r\na\r\n" * 100_000)


async def _pages(hostile: Hostile) -> None:
    """Pages one after the other over the same connection."""
    reader, writer = await hostile.connect()
    try:
        while not hostile.is_over:
            writer.write(hostile.head("GET /"))
            head = await reader.readuntil(b"\r\n\r\n")
            _, _, rest = head.lower().partition(b"content-length:")
            await reader.readexactly(int(rest.split(b"\r\n")[0]))
            hostile.done += 1
    finally:
        writer.transport.abort()


async def _new_connections(hostile: Hostile) -> None:
    await hostile.send(hostile.head("GET /", "Connection: close"))


async def _aborted(hostile: Hostile) -> None:
    """Ask for a page and leave at once."""
    _, writer = await hostile.connect()
    writer.write(hostile.head("GET /admin/login/"))
    await writer.drain()
    writer.transport.abort()


async def _unread(hostile: Hostile) -> None:
    """Ask for large files and read nothing."""
    _, writer = await hostile.connect()
    try:
        writer.write(hostile.head("GET /static/ninja/redoc.standalone.js"))
        await asyncio.sleep(2)
    finally:
        writer.transport.abort()


async def _slow(hostile: Hostile) -> None:
    """Send a byte now and then."""
    reader, writer = await hostile.connect()
    try:
        for byte in hostile.head("GET /", "X: " + "y" * 2_000):
            if hostile.is_over or reader.at_eof():
                return
            writer.write(bytes([byte]))
            await asyncio.sleep(0.2)
    finally:
        writer.transport.abort()


async def _sockets(hostile: Hostile) -> None:
    """Open a page's websocket for a loan that does not exist, and keep it for a moment."""
    reader, writer = await hostile.connect()
    try:
        writer.write(
            hostile.head(
                f"GET /ws/loans/{uuid4()}/",
                "Upgrade: websocket",
                "Connection: Upgrade",
                f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}",
                "Sec-WebSocket-Version: 13",
                f"Origin: http://{hostile._host}:{hostile._port}",  # noqa: SLF001
            )
        )
        await reader.readuntil(b"\r\n\r\n")
        for _ in range(20):
            writer.write(b"\x89\x80\0\0\0\0" * 100)
            await asyncio.sleep(0.1)
            if writer.transport.is_closing() or reader.at_eof():
                return
    finally:
        writer.transport.abort()


# What is done, and over how many connections at once.
ATTACKS: Final[dict[str, tuple[Callable[[Hostile], Awaitable[None]], int]]] = {
    "unknown fields": (_unknown_fields, 16),
    "deep JSON": (_deep, 16),
    "forms": (_forms, 16),
    "large bodies": (_large_bodies, 32),
    "uploads": (_uploads, 16),
    "chunks": (_chunks, 32),
    "pages": (_pages, 100),
    "new connections": (_new_connections, 100),
    "aborted": (_aborted, 100),
    "unread answers": (_unread, 200),
    "slow": (_slow, 500),
    "sockets": (_sockets, 400),
}


def main() -> None:
    url, attack, seconds, *calls = sys.argv[1:]
    # It would have a machine of its own, so it must not slow down those who measure.
    os.nice(10)
    # It would tell of each write to a connection that the server has closed.
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, 4_096), most))
    hostile = Hostile(url, float(seconds), int(calls[0]) if calls else None)
    asyncio.run(hostile.run(attack))
    print(json.dumps(hostile.done))


if __name__ == "__main__":
    main()
