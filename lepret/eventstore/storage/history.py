"""Reads the log in pages, in threads beside the event loop."""

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from lepret.eventstore.storage.links import LINK_TYPE
from lepret.eventstore.storage.log import MAX_REVISION, Log
from lepret.eventstore.storage.records import Record

READER_THREADS = 4

P = ParamSpec("P")
T = TypeVar("T")


class History:
    """The log for coroutines: threads read the pages."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._threads = ThreadPoolExecutor(READER_THREADS, thread_name_prefix="history")

    def close(self) -> None:
        """Wait for running reads and end the threads."""
        self._threads.shutdown()

    async def stream_exists(self, stream: str) -> bool:
        """Whether the stream has events and is not deleted.

        Raises StreamIsDeleted for a tombstoned stream, as all reads of streams do.
        """
        return await self._run(self._log.stream_exists, stream)

    async def all_page(self, start: int, head: int) -> list[Record]:
        """A page of `$all` from position ``start`` to ``head``, both inclusive."""
        return await self._run(self._log.all_forwards, min(start, MAX_REVISION), head)

    async def stream_page(self, stream: str, start: int, head: int) -> list[Record]:
        """A page of a stream from revision ``start`` on, up to position ``head``."""
        return await self._run(self._log.stream_forwards, stream, min(start, MAX_REVISION), head)

    async def all_forwards(self, start: int, head: int) -> AsyncIterator[list[Record]]:
        """`$all` from ``start`` to ``head``, both inclusive, in pages."""
        while page := await self.all_page(start, head):
            yield page
            start = page[-1].position + 1

    async def all_backwards(self, end: int) -> AsyncIterator[list[Record]]:
        """`$all` before ``end``, exclusive, newest first, in pages."""
        while page := await self._run(self._log.all_backwards, min(end, MAX_REVISION)):
            yield page
            end = page[-1].position

    async def stream_forwards(
        self, stream: str, start: int, head: int
    ) -> AsyncIterator[list[Record]]:
        """A stream from revision ``start``, inclusive, up to position ``head``, in pages."""
        while page := await self.stream_page(stream, start, head):
            yield page
            start = page[-1].revision + 1

    async def stream_backwards(
        self, stream: str, end: int, head: int
    ) -> AsyncIterator[list[Record]]:
        """A stream from revision ``end``, inclusive, newest first, in pages."""
        end = min(end, MAX_REVISION)
        while page := await self._run(self._log.stream_backwards, stream, end, head):
            yield page
            end = page[-1].revision - 1

    async def resolved(self, records: list[Record]) -> list[Record]:
        """The records, with links resolved to their events."""
        if any(record.type == LINK_TYPE for record in records):
            return await self._run(self._log.resolve, records)
        return records

    async def _run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, lambda: function(*args, **kwargs))
