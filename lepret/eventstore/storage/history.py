"""Reads the log in pages, in threads beside the event loop."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import compress, islice
from typing import ParamSpec, TypeVar

from lepret.eventstore.rpc import Refusal, StatusCode
from lepret.eventstore.storage.filters import Filter, everything
from lepret.eventstore.storage.links import LINK_TYPE
from lepret.eventstore.storage.log import MAX_REVISION, PAGE_EVENTS, Log
from lepret.eventstore.storage.records import Record

READER_THREADS = 4

FILTERING_AT_ONCE = 0.002
"""Seconds of filtering until the event loop does something else."""

MAX_SLOW_FILTERS = 32
"""Filters that are not done by then, and keep a page of events in memory."""

MOST_SKIPPED = 16 * PAGE_EVENTS
"""Events that are looked at together, to see whether a filter keeps any of them."""

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

    def stream_exists(self, stream: str) -> bool:
        """Whether the stream has events and is not deleted.

        Looked up at once: to hand it over to a thread would take longer. Raises StreamIsDeleted for
        a tombstoned stream, as all reads of streams do.
        """
        return self._log.stream_exists(stream)

    async def all_page(self, start: int, head: int) -> list[Record]:
        """A page of `$all` from position ``start`` to ``head``, both inclusive."""
        return await self._run(self._log.all_forwards, min(start, MAX_REVISION), head)

    async def stream_page(self, stream: str, start: int, head: int) -> list[Record]:
        """A page of a stream from revision ``start`` on, up to position ``head``."""
        return await self._run(self._log.stream_forwards, stream, min(start, MAX_REVISION), head)

    async def all_forwards(
        self, start: int, head: int, keep: Filter
    ) -> AsyncIterator[list[Record]]:
        """What a filter keeps of `$all` from ``start`` to ``head``, both inclusive, in pages."""
        skipping = Skipping(self, keep)
        while page := await self.all_page(start, head):
            start = page[-1].position + 1
            kept = await self.kept(page, keep)
            yield kept
            start = await skipping.forwards(start, head, has_found=bool(kept))

    async def all_backwards(self, end: int, keep: Filter) -> AsyncIterator[list[Record]]:
        """What a filter keeps of `$all` before ``end``, exclusive, newest first, in pages."""
        skipping = Skipping(self, keep)
        while page := await self._run(self._log.all_backwards, min(end, MAX_REVISION)):
            kept = await self.kept(page, keep)
            yield kept
            end = await skipping.backwards(page[-1].position, has_found=bool(kept))

    async def keeps_none(self, keep: Filter, first: int, last: int) -> bool:
        """Whether a filter keeps no event from position ``first`` to ``last``, both inclusive."""
        texts = await self._run(self._log.judged_texts, keep, first, last)
        return not any(await self._judged(texts, keep.matches))

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
        return await self._judged(records, keep)

    async def _judged(self, items: Sequence[T], keep: Callable[[T], bool]) -> list[bool]:
        verdicts: list[bool] = []
        if _judge(items, keep, verdicts):
            return verdicts
        if self._slow >= MAX_SLOW_FILTERS:
            raise Refusal(StatusCode.RESOURCE_EXHAUSTED, "Too many slow filters are in use.")
        self._slow += 1
        try:
            while len(verdicts) < len(items):
                async with self._filtering:
                    _judge(items, keep, verdicts)
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


class Skipping:
    """Goes past events of `$all` of which a filter keeps none, without reading them.

    It begins when a page had none, with as many events as in a page, and goes on with more and
    more. So it costs nothing where a filter keeps much.
    """

    def __init__(self, history: History, keep: Filter) -> None:
        self._history = history
        self._keep = keep
        self._size = PAGE_EVENTS

    async def forwards(self, start: int, head: int, *, has_found: bool) -> int:
        """Where to read on, from ``start`` up to ``head``, after a page that had some or none."""
        while not has_found and start <= head:
            last = min(start + self._size - 1, head)
            has_found = not await self._is_passed(start, last)
            start = start if has_found else last + 1
        return start

    async def backwards(self, end: int, *, has_found: bool) -> int:
        """Before which position to read on, after a page that had some or none."""
        while not has_found and end > 0:
            first = max(end - self._size, 0)
            has_found = not await self._is_passed(first, end - 1)
            end = end if has_found else first
        return end

    async def _is_passed(self, first: int, last: int) -> bool:
        if await self._history.keeps_none(self._keep, first, last):
            self._size = min(2 * self._size, MOST_SKIPPED)
            return True
        self._size = PAGE_EVENTS
        return False


def _judge(items: Sequence[T], keep: Callable[[T], bool], verdicts: list[bool]) -> bool:
    """Add verdicts for `FILTERING_AT_ONCE`. Returns whether they are complete."""
    until = time.perf_counter() + FILTERING_AT_ONCE
    for item in islice(items, len(verdicts), None):
        verdicts.append(keep(item))
        if time.perf_counter() > until:
            break
    return len(verdicts) == len(items)
