"""Does TLS in front of servers that have none: one for gRPC, and one for plain HTTP."""

from __future__ import annotations

import asyncio
import ssl
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lepret.deployment.certificates import Certified
from tests.support.processes import PATIENCE


@contextmanager
def running_tls_front(server: Certified, *, grpc_port: int, http_port: int) -> Iterator[int]:
    """Run it in a thread while the block runs; yields its port.

    Who asks for HTTP/2 is passed on to `grpc_port`, anyone else to `http_port`.
    """
    loop = asyncio.new_event_loop()
    front = _Front(_context(server), grpc_port, http_port)
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield asyncio.run_coroutine_threadsafe(front.start(), loop).result(PATIENCE)
    finally:
        asyncio.run_coroutine_threadsafe(front.stop(), loop).result(PATIENCE)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(PATIENCE)
        loop.close()


def _context(server: Certified) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols(["h2", "http/1.1"])
    with tempfile.NamedTemporaryFile("w") as file:
        file.write(server.key + server.certificate)
        file.flush()
        context.load_cert_chain(Path(file.name))
    return context


class _Front:
    def __init__(self, context: ssl.SSLContext, grpc_port: int, http_port: int) -> None:
        self._context = context
        self._grpc_port = grpc_port
        self._http_port = http_port
        self._connections: set[asyncio.Task[None]] = set()

    async def start(self) -> int:
        self._server = await asyncio.start_server(self._pass_on, "127.0.0.1", ssl=self._context)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def stop(self) -> None:
        self._server.close()
        for each in self._connections:
            each.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        is_http2 = writer.get_extra_info("ssl_object").selected_alpn_protocol() == "h2"
        port = self._grpc_port if is_http2 else self._http_port
        behind_reader, behind_writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            async with asyncio.TaskGroup() as directions:
                directions.create_task(_copy(reader, behind_writer))
                directions.create_task(_copy(behind_reader, writer))
        finally:
            self._connections.discard(task)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.close()
