"""A TCP proxy that can swallow what it should pass on, as a network does that has died silently."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tests.support.processes import PATIENCE


class SwallowingProxy:
    """Passes connections on to a port of this machine, in the event loop of its own thread."""

    def __init__(self, behind: int) -> None:
        self.port = 0
        self.is_swallowing = False
        self._behind = behind
        self._connections: set[asyncio.Task[None]] = set()

    @property
    def base_url(self) -> str:
        """Its address, without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1")
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        self._server.close()
        for each in self._connections:
            each.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = asyncio.create_task(self._serve(reader, writer))
        self._connections.add(connection)
        connection.add_done_callback(self._connections.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behind_reader, behind_writer = await asyncio.open_connection("127.0.0.1", self._behind)
        async with asyncio.TaskGroup() as directions:
            directions.create_task(self._pass_on(reader, behind_writer))
            directions.create_task(self._pass_on(behind_reader, writer))

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        has_swallowed = False
        try:
            with suppress(OSError):
                while data := await reader.read(65_536):
                    # What a connection has once lost, it never makes up for.
                    has_swallowed = has_swallowed or self.is_swallowing
                    if not has_swallowed:
                        writer.write(data)
                        await writer.drain()
                # Neither is the connection's end passed on.
                while has_swallowed and self.is_swallowing:  # noqa: ASYNC110 (set by another thread)
                    await asyncio.sleep(0.05)
        finally:
            writer.close()


@contextmanager
def running_swallowing_proxy(behind: int) -> Iterator[SwallowingProxy]:
    """Run it while the block runs, in front of the port `behind`."""
    loop = asyncio.new_event_loop()
    proxy = SwallowingProxy(behind)
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(proxy.start(), loop).result(PATIENCE)
        yield proxy
    finally:
        asyncio.run_coroutine_threadsafe(proxy.stop(), loop).result(PATIENCE)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(PATIENCE)
        loop.close()
