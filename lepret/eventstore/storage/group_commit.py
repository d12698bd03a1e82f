"""Group commit: all waiting writes share one transaction and one sync of the disk."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

from lepret.eventstore.rpc import Refusal, StatusCode
from lepret.eventstore.storage.log import Log
from lepret.eventstore.storage.records import Record
from lepret.eventstore.writes import Append, Outcome, Write

MAX_GROUP_EVENTS = 1000
MAX_GROUP_BYTES = 8 * 1024 * 1024
"""A group is complete once it has this many events or bytes."""

MAX_EVENTS_IN_LOOP = 250
MAX_BYTES_IN_LOOP = 2 * 1024 * 1024
"""A group with more is written in a thread."""

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _PendingWrite:
    write: Write
    answer: asyncio.Future[Outcome]

    @property
    def events(self) -> int:
        """How many events it adds to the group."""
        return len(self.write.events) if isinstance(self.write, Append) else 1

    @property
    def size(self) -> int:
        """The size of these events, in bytes."""
        if not isinstance(self.write, Append):
            return 0
        return sum(event.size for event in self.write.events)


class _Written(NamedTuple):
    """What became of each write, and the records of all."""

    outcomes: list[tuple[_PendingWrite, Outcome | Refusal]]
    records: list[Record]


class GroupCommit:
    """Writes to the log, in the event loop's thread.

    Writes that arrive while a group is committed form the next group. A separate thread would
    free the loop for the fraction of a millisecond that a sync takes, but switching to it and
    back costs as much. Only large groups, which would hold up other clients, are written in one.

    Committed records are passed to ``publish`` before any write is answered, so a client that
    has its answer finds its events in every read.
    """

    def __init__(self, log: Log, publish: Callable[[Sequence[Record]], None]) -> None:
        self._log = log
        self._publish = publish
        self._loop = asyncio.get_running_loop()
        self._closed = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="large-appends")
        self._large: Future[_Written] | None = None
        self._queue: deque[_PendingWrite] = deque()

    async def append(self, write: Write) -> Outcome:
        """Queue a write, a delete included; returns when it is on disk, or refused.

        Raises Refusal (UNAVAILABLE) if the file cannot be written, or after `close`.
        """
        if self._closed:
            raise Refusal(StatusCode.UNAVAILABLE, "The server is shutting down.")
        waiting = _PendingWrite(write, self._loop.create_future())
        self._queue.append(waiting)
        if len(self._queue) == 1:
            self._loop.call_soon(self._commit_next)
        return await waiting.answer

    def close(self) -> None:
        """Write what waits, and refuse later writes."""
        self._closed = True
        self._take_large()
        while self._queue:
            self._answer(self._written(self._next_group()))
        self._thread.shutdown()

    def _commit_next(self) -> None:
        """Write one group; the rest waits for another iteration of the event loop."""
        if not self._queue or self._large is not None:
            return
        group = self._next_group()
        if _is_large(group):
            self._large = self._thread.submit(self._written, group)
            self._large.add_done_callback(
                lambda _: self._loop.call_soon_threadsafe(self._take_large)
            )
            return
        self._answer(self._written(group))
        if self._queue:
            self._loop.call_soon(self._commit_next)

    def _take_large(self) -> None:
        """Answer the large group that is written in the thread, once it is; then go on."""
        if self._large is None:
            return
        written, self._large = self._large.result(), None
        self._answer(written)
        self._loop.call_soon(self._commit_next)

    def _next_group(self) -> list[_PendingWrite]:
        group: list[_PendingWrite] = []
        events = size = 0
        while self._queue and events < MAX_GROUP_EVENTS and size < MAX_GROUP_BYTES:
            waiting = self._queue.popleft()
            group.append(waiting)
            events += waiting.events
            size += waiting.size
        return group

    def _written(self, group: list[_PendingWrite]) -> _Written:
        """Write a group; if that fails, each write alone: only one that cannot be written fails."""
        try:
            outcomes, records = self._log.append_all([waiting.write for waiting in group])
        except Exception as error:  # noqa: BLE001 - other writes wait behind it
            if len(group) > 1:
                return _joined([self._written([waiting]) for waiting in group])
            logger.error("an append could not be written: %s", type(error).__name__)
            refusal = Refusal(StatusCode.UNAVAILABLE, "The data file could not be written.")
            return _Written([(group[0], refusal)], [])
        return _Written(list(zip(group, outcomes, strict=True)), records)

    def _answer(self, written: _Written) -> None:
        self._publish(written.records)
        for waiting, outcome in written.outcomes:
            if waiting.answer.done():
                continue
            if isinstance(outcome, Refusal):
                waiting.answer.set_exception(outcome)
            else:
                waiting.answer.set_result(outcome)


def _is_large(group: list[_PendingWrite]) -> bool:
    """Whether writing takes so long that other clients would notice."""
    return (
        sum(waiting.events for waiting in group) > MAX_EVENTS_IN_LOOP
        or sum(waiting.size for waiting in group) > MAX_BYTES_IN_LOOP
    )


def _joined(parts: list[_Written]) -> _Written:
    return _Written(
        [outcome for part in parts for outcome in part.outcomes],
        [record for part in parts for record in part.records],
    )
