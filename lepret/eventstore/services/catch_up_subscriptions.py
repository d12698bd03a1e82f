"""Catch-up subscriptions: history first, then live, and back to history for slow readers.

A subscription only remembers its position. It is live while the next event is in the tail, and
otherwise reads the log. So no queue grows, and no event is lost between log and tail, since
both have the same positions.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

from lepret.eventstore import messages
from lepret.eventstore.storage.filters import Filter
from lepret.eventstore.storage.history import History, Skipping
from lepret.eventstore.storage.log import PAGE_EVENTS
from lepret.eventstore.storage.records import Record
from lepret.eventstore.storage.stream_state import TOMBSTONE_REVISION, StreamIsDeleted
from lepret.eventstore.storage.tail import Tail

Messages = list[bytes]


@dataclass(slots=True)
class Search:
    """A filtered search through `$all`, with a checkpoint after each window."""

    keep: Filter
    window: int | None
    """Events searched between checkpoints; None for no checkpoints."""
    searched: int = 0
    sent: int = 0
    """The position of the last event or checkpoint sent; at first the subscription's start."""
    has_found: bool = True
    """Whether the last events searched had any that matches."""
    sent_checkpoint: int | None = None
    """The position of the last checkpoint sent."""

    def last_checkpoint(self, position: int, after: int) -> Messages:
        """The checkpoint with which a filtered subscription goes live if it has searched."""
        if self.window is None or position in {after, self.sent_checkpoint}:
            return []
        self.sent = self.sent_checkpoint = position
        return [messages.checkpoint(position)]

    async def messages(self, records: list[Record], history: History) -> Messages:
        """The matching events, with checkpoints where they are due."""
        found: Messages = []
        verdicts = await history.verdicts(records, self.keep)
        self.has_found = any(verdicts)
        for record, is_kept in zip(records, verdicts, strict=True):
            if is_kept:
                found.append(record.response)
                self.sent = record.position
            self.searched += 1
            if self.searched == self.window:
                found.append(messages.checkpoint(record.position))
                self.sent = self.sent_checkpoint = record.position
                self.searched = 0
        return found

    def pass_over(self, first: int, last: int) -> Messages:
        """The checkpoints that are due among events of which none matches."""
        if self.window is None:
            return []
        due = list(range(first + self.window - self.searched - 1, last + 1, self.window))
        self.searched = (self.searched + last - first + 1) % self.window
        if due:
            self.sent = self.sent_checkpoint = due[-1]
        return [messages.checkpoint(position) for position in due]


Resolve = Callable[[list[Record]], Awaitable[list[Record]]]
"""Resolves the links among records, or leaves them as they are."""


async def unresolved(records: list[Record]) -> list[Record]:
    """Leave links as they are."""
    return records


async def follow_all(
    history: History, tail: Tail, after: int, search: Search, resolve: Resolve = unresolved
) -> AsyncIterator[Messages]:
    """The messages of a subscription to `$all` after a position, without end."""
    position = after
    search.sent = max(after, 0)
    skipping = Skipping(history, search.keep)
    live = False
    while True:
        if position >= tail.head:
            if not live:
                live = True
                last = search.last_checkpoint(position, after)
                yield [*last, messages.caught_up(messages.reached_in_all(search.sent))]
            await tail.beyond(position)
        records = tail.after(position, PAGE_EVENTS)
        if records is None:
            if live:
                live = False
                yield [messages.fell_behind(messages.reached_in_all(search.sent))]
            first = await skipping.forwards(position + 1, tail.head, has_found=search.has_found)
            if passed := search.pass_over(position + 1, first - 1):
                yield passed
            position = first - 1
            records = await history.all_page(first, tail.head)
        if not records:
            continue  # Passed over up to the end.
        position = records[-1].position
        if found := await search.messages(await resolve(records), history):
            yield found


async def follow_stream(
    history: History, tail: Tail, stream: str, next_revision: int, resolve: Resolve = unresolved
) -> AsyncIterator[Messages]:
    """The messages of a subscription to a stream from a revision on, without end.

    Raises StreamIsDeleted once the stream is tombstoned.
    """
    while True:
        head = tail.head
        while page := await history.stream_page(stream, next_revision, head):
            yield [record.response for record in await resolve(page)]
            next_revision = page[-1].revision + 1
            head = tail.head
        yield [messages.caught_up(messages.reached_in_stream(next_revision - 1))]
        async for records in live(tail, head):
            found = [r for r in records if r.stream == stream and r.revision >= next_revision]
            if found:
                yield [record.response for record in await resolve(found)]
                next_revision = found[-1].revision + 1
            if next_revision > TOMBSTONE_REVISION:
                raise StreamIsDeleted(stream)
        yield [messages.fell_behind(messages.reached_in_stream(next_revision - 1))]


async def live(tail: Tail, position: int) -> AsyncIterator[list[Record]]:
    """New events after a position; ends when the next one has left the tail."""
    while True:
        await tail.beyond(position)
        records = tail.after(position, PAGE_EVENTS)
        if records is None:
            return
        position = records[-1].position
        yield records
