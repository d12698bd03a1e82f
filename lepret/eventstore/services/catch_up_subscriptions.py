"""Catch-up subscriptions: history first, then live, and back when a reader is slow.

A subscription owns nothing but how far it has come. While the event after that is in the
tail it is live; when it is not, it reads the log. So no queue grows, and no event falls
between the two: both count in the same positions.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

from lepret.eventstore import messages
from lepret.eventstore.storage.filters import Filter
from lepret.eventstore.storage.history import History
from lepret.eventstore.storage.log import PAGE_EVENTS
from lepret.eventstore.storage.records import Record
from lepret.eventstore.storage.stream_state import TOMBSTONE_REVISION, StreamIsDeleted
from lepret.eventstore.storage.tail import Tail

Messages = list[bytes]


@dataclass(slots=True)
class Search:
    """A filter at work over `$all`, with a checkpoint after every window searched."""

    keep: Filter
    window: int | None
    """Events searched between checkpoints; None sends no checkpoints."""
    searched: int = 0
    sent: int = 0
    """The position of the last event or checkpoint; at first, where the subscription started."""

    def messages(self, records: list[Record]) -> Messages:
        """The events that are kept, and checkpoints where they are due."""
        found: Messages = []
        for record in records:
            if self.keep(record):
                found.append(record.response)
                self.sent = record.position
            self.searched += 1
            if self.searched == self.window:
                found.append(messages.checkpoint(record.position))
                self.sent = record.position
                self.searched = 0
        return found


Resolve = Callable[[list[Record]], Awaitable[list[Record]]]
"""What becomes of the links among the records."""


async def unresolved(records: list[Record]) -> list[Record]:
    """Links as they are, for subscribers that asked for no more."""
    return records


async def follow_all(
    history: History, tail: Tail, after: int, search: Search, resolve: Resolve = unresolved
) -> AsyncIterator[Messages]:
    """What a subscription to `$all` after a position is to be sent, without end."""
    position = after
    search.sent = max(after, 0)
    live = False
    while True:
        if position >= tail.head:
            if not live:
                live = True
                yield [messages.caught_up(messages.reached_in_all(search.sent))]
            await tail.beyond(position)
        records = tail.after(position, PAGE_EVENTS)
        if records is None:
            if live:
                live = False
                yield [messages.fell_behind(messages.reached_in_all(search.sent))]
            records = await history.all_page(position + 1, tail.head)
        position = records[-1].position
        if found := search.messages(await resolve(records)):
            yield found


async def follow_stream(
    history: History, tail: Tail, stream: str, next_revision: int, resolve: Resolve = unresolved
) -> AsyncIterator[Messages]:
    """What a subscription to a stream from a revision on is to be sent.

    Without end, unless the stream ends for good: then raises StreamIsDeleted.
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
            events = [record for record in found if record.revision != TOMBSTONE_REVISION]
            if events:
                yield [record.response for record in await resolve(events)]
                next_revision = events[-1].revision + 1
            if len(events) < len(found):
                raise StreamIsDeleted(stream)
        yield [messages.fell_behind(messages.reached_in_stream(next_revision - 1))]


async def live(tail: Tail, position: int) -> AsyncIterator[list[Record]]:
    """All events after a position as they come; ends when the tail has lost the next one."""
    while True:
        await tail.beyond(position)
        records = tail.after(position, PAGE_EVENTS)
        if records is None:
            return
        position = records[-1].position
        yield records
