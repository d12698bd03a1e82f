"""A log for subscriptions to follow, whose hook lets tests append at the worst moments."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from uuid import uuid4

from lepret.eventstore.services.catch_up_subscriptions import Search, follow_all, follow_stream
from lepret.eventstore.storage.datafile import prepare_data_file
from lepret.eventstore.storage.filters import Filter, everything
from lepret.eventstore.storage.history import History
from lepret.eventstore.storage.log import Log
from lepret.eventstore.storage.records import Record
from lepret.eventstore.storage.tail import Tail
from lepret.eventstore.writes import Append, Expectation, ProposedEvent

STREAM = "s"

Following = AsyncIterator[list[bytes]]


def at_most(times: int, action: Callable[[], None]) -> Callable[[], None]:
    """Limit how often an action is done; later calls do nothing."""
    left = iter(range(times))
    return lambda: action() if next(left, None) is not None else None


class HookedStore:
    """A log with its history and its tail."""

    def __init__(self, path: Path) -> None:
        prepare_data_file(path)
        self.log = Log(path)
        self.tail = Tail(self.log.head)
        self.history = HookedHistory(self.log)

    def append(self, count: int = 1, stream: str = STREAM) -> None:
        events = tuple(ProposedEvent(uuid4(), "T", True, b"{}", b"") for _ in range(count))
        _, records = self.log.append_all([Append(stream, Expectation.ANY, events)])
        self.tail.publish(records)

    def forget_tail(self, max_events: int = 4096) -> None:
        """Empty the tail, as after a restart: all events are only in the log."""
        self.tail = Tail(self.log.head, max_events)

    def follow_all(self, keep: Filter = everything, window: int | None = None) -> Following:
        return follow_all(self.history, self.tail, -1, Search(keep, window))

    def follow_stream(self) -> Following:
        return follow_stream(self.history, self.tail, STREAM, 0)

    def responses(self, stream: str | None = None) -> list[bytes]:
        """The stored responses of a stream, or of all events."""
        records: list[Record] = []
        while page := self.log.all_forwards(len(records) + 1, self.log.head):
            records += page
        return [record.response for record in records if stream in {None, record.stream}]

    def close(self) -> None:
        self.history.close()
        self.log.close()


class HookedHistory(History):
    """History that calls a hook before and after each page it reads."""

    hook: Callable[[], None] = staticmethod(lambda: None)

    async def all_page(self, start: int, head: int) -> list[Record]:
        self.hook()
        page = await super().all_page(start, head)
        self.hook()
        return page

    async def stream_page(self, stream: str, start: int, head: int) -> list[Record]:
        self.hook()
        page = await super().stream_page(stream, start, head)
        self.hook()
        return page
