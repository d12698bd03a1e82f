"""The events that a group reads: first history, then live, and history again if it is slow."""

from collections.abc import AsyncIterator
from typing import NamedTuple

from lepret.eventstore.persistent.settings import ALL, GroupSettings
from lepret.eventstore.services.catch_up_subscriptions import live
from lepret.eventstore.storage.filters import everything, in_all
from lepret.eventstore.storage.history import History, Skipping
from lepret.eventstore.storage.log import PAGE_EVENTS
from lepret.eventstore.storage.records import Record
from lepret.eventstore.storage.tail import Tail

_in_all = in_all(everything)


class Page(NamedTuple):
    """Records for a group, and the last number that was searched for them."""

    records: list[Record]
    to: int


class Source:
    """Follows `$all` or a stream. Reads a page only on request."""

    def __init__(self, history: History, tail: Tail, settings: GroupSettings) -> None:
        """Raises ValueError for an invalid filter."""
        self.is_live = False
        """Whether all events have been read."""
        self._history = history
        self._tail = tail
        self._stream = settings.stream
        self._keep = settings.keep()

    def number(self, record: Record) -> int:
        """The record's position in `$all`, or its revision."""
        return record.position if self._stream == ALL else record.revision

    def pages(self, after: int) -> AsyncIterator[Page]:
        """Pages of the events after a number, without end.

        Raises StreamIsDeleted once the stream is tombstoned.
        """
        if self._stream == ALL:
            return self._pages_of_all(after)
        return self._pages_of_stream(after)

    async def _pages_of_all(self, position: int) -> AsyncIterator[Page]:
        skipping, has_found = Skipping(self._history, in_all(self._keep)), True
        while True:
            self.is_live = position >= self._tail.head
            await self._tail.beyond(position)
            head = self._tail.head
            records = self._tail.after(position, PAGE_EVENTS)
            if records is None:
                self.is_live = False
                first = await skipping.forwards(position + 1, head, has_found=has_found)
                if first > position + 1:
                    position = first - 1
                    yield Page([], position)
                records = await self._history.all_page(first, head)
            # Scavenging leaves gaps.
            position = records[-1].position if records else head
            seen = await self._history.kept(records, _in_all)
            kept = await self._history.kept(seen, self._keep)
            has_found = bool(kept)
            if seen:
                yield Page(kept, seen[-1].position)

    async def _pages_of_stream(self, revision: int) -> AsyncIterator[Page]:
        while True:
            self.is_live = False
            head = self._tail.head
            while page := await self._history.stream_page(self._stream, revision + 1, head):
                revision = page[-1].revision
                yield Page(page, revision)
                head = self._tail.head
            self.is_live = True
            async for records in live(self._tail, head):
                page = [record for record in records if self._follows(record, revision)]
                if page:
                    revision = page[-1].revision
                    yield Page(page, revision)

    def _follows(self, record: Record, revision: int) -> bool:
        return record.stream == self._stream and record.revision > revision
