"""The newest events, kept in memory for live subscriptions."""

import asyncio
from collections.abc import Sequence

from lepret.eventstore.storage.records import Record


class Tail:
    """The end of the log, which all subscriptions share. Only for the event loop's thread.

    A subscription remembers only its position. A slow one finds that its next event has left
    the tail, and reads it from the log, so readers need no queues.
    """

    def __init__(
        self, head: int, max_events: int = 4096, max_bytes: int = 16 * 1024 * 1024
    ) -> None:
        self._max_events = max_events
        self._max_bytes = max_bytes
        self.head = head
        """The position of the last event that readers may see."""
        self._records: dict[int, Record] = {}
        self._oldest = head + 1
        self._bytes = 0
        self._moved = asyncio.Event()

    def publish(self, records: Sequence[Record]) -> None:
        """Add committed events, and wake the subscriptions that wait for them."""
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
        """At most ``limit`` events after a position; None if the first has left the tail."""
        if position + 1 < self._oldest:
            return None
        last = min(self.head, position + limit)
        return [self._records[n] for n in range(position + 1, last + 1)]

    async def beyond(self, position: int) -> None:
        """Wait until there are events after a position.

        No event is missed: nothing else runs between the check and the wait.
        """
        while self.head <= position:
            await self._moved.wait()

    def _forget_oldest(self) -> None:
        while len(self._records) > self._max_events or self._bytes > self._max_bytes:
            record = self._records.pop(self._oldest)
            self._bytes -= len(record.response)
            self._oldest += 1
