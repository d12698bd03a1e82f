"""Reads the log in pages, in threads beside the event loop."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import compress, islice
from typing import ParamSpec, TypeVar

from lepret.eventstore.rpc import Refusal, StatusCode
from lepret.eventstore.storage.filters import Filter, everything
from lepret.eventstore.storage.links import LINK_TYPE
from lepret.eventstore.storage.log import MAX_REVISION, Log
from lepret.eventstore.storage.records import Record

READER_THREADS = 4

FILTERING_AT_ONCE = 0.002
"""Seconds of filtering until the event loop does something else."""

MAX_SLOW_FILTERS = 32
"""Filters that are not done by then, and keep a page of events in memory."""

P = ParamSpec("P")
T = TypeVar("T")


class History:
    """The log for coroutines: threads read the pages."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._threads = ThreadPoolExecutor(READER_THREADS, thread_name_prefix="history")
        # Else the threads could read far ahead of those who wait for the pages.
        self._pages = asyncio.Semaphore(2 * READER_THREADS)
        self._filtering = asyncio.Lock()
        self._slow = 0

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

    async def verdicts(self, records: list[Record], keep: Filter) -> list[bool]:
        """What the filter says of each record.

        A slow filter is applied in slices, and slow filters take turns: all of them together
        delay others by one slice. Raises Refusal (RESOURCE_EXHAUSTED) if too many wait.
        """
        if keep is everything:
            return [True] * len(records)
        verdicts: list[bool] = []
        if _judge(records, keep, verdicts):
            return verdicts
        if self._slow >= MAX_SLOW_FILTERS:
            raise Refusal(StatusCode.RESOURCE_EXHAUSTED, "Too many slow filters are in use.")
        self._slow += 1
        try:
            while len(verdicts) < len(records):
                async with self._filtering:
                    _judge(records, keep, verdicts)
                    await asyncio.sleep(0)
        finally:
            self._slow -= 1
        return verdicts

    async def kept(self, records: list[Record], keep: Filter) -> list[Record]:
        """The records that the filter keeps; see `verdicts`."""
        return list(compress(records, await self.verdicts(records, keep)))

    async def _run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        loop = asyncio.get_running_loop()
        async with self._pages:
            return await loop.run_in_executor(self._threads, lambda: function(*args, **kwargs))


def _judge(records: list[Record], keep: Filter, verdicts: list[bool]) -> bool:
    """Add verdicts for `FILTERING_AT_ONCE`. Returns whether they are complete."""
    until = time.perf_counter() + FILTERING_AT_ONCE
    for record in islice(records, len(verdicts), None):
        verdicts.append(keep(record))
        if time.perf_counter() > until:
            break
    return len(verdicts) == len(records)
