"""The newest events, kept in memory for those who follow the log live."""

import asyncio
from collections.abc import Sequence

from lepret.eventstore.storage.records import Record

TAIL_EVENTS = 4096
TAIL_BYTES = 16 * 1024 * 1024
"""All subscriptions share one tail of at most this size."""


class Tail:
    """The end of the log as the event loop knows it; lives on the loop's thread alone.

    A subscription remembers only its position. One that is slower than the tail is long
    finds its next event gone and reads it from the log: nothing is queued for anybody.
    """

    def __init__(self, head: int) -> None:
        self.head = head
        """The position of the last event that readers may see."""
        self._records: dict[int, Record] = {}
        self._oldest = head + 1
        self._bytes = 0
        self._moved = asyncio.Event()

    def publish(self, records: Sequence[Record]) -> None:
        """Add what was committed and wake those who wait for it."""
        if not records:
            return
        for record in records:
            self._records[record.position] = record
            self._bytes += len(record.response)
        self.head = records[-1].position
        self._forget_oldest()
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()

    def after(self, position: int, limit: int) -> list[Record] | None:
        """The events after a position, at most so many; None when the tail is too short."""
        if position + 1 < self._oldest:
            return None
        last = min(self.head, position + limit)
        return [self._records[n] for n in range(position + 1, last + 1)]

    async def beyond(self, position: int) -> None:
        """Wait until there are events after a position.

        Between the look at the head and the wait nothing else runs, so no event can slip
        through unseen.
        """
        while self.head <= position:
            await self._moved.wait()

    def _forget_oldest(self) -> None:
        while len(self._records) > TAIL_EVENTS or self._bytes > TAIL_BYTES:
            record = self._records.pop(self._oldest)
            self._bytes -= len(record.response)
            self._oldest += 1
