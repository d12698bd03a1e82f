"""Group commit: all waiting writes share one transaction and one sync of the disk."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lepret.eventstore.rpc import Refusal, StatusCode
from lepret.eventstore.storage.log import Log
from lepret.eventstore.storage.records import Record
from lepret.eventstore.writes import Append, Outcome, Write

MAX_GROUP_EVENTS = 1000
MAX_GROUP_BYTES = 8 * 1024 * 1024
"""A group is complete once it has this many events or bytes."""

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


class GroupCommit:
    """Writes to the log, in the event loop's thread.

    Writes that arrive while a group is committed form the next group. A separate thread would
    free the loop for the fraction of a millisecond that a sync takes, but switching to it and
    back costs as much.

    Committed records are passed to ``publish`` before any write is answered, so a client that
    has its answer finds its events in every read.
    """

    def __init__(self, log: Log, publish: Callable[[Sequence[Record]], None]) -> None:
        self._log = log
        self._publish = publish
        self._loop = asyncio.get_running_loop()
        self._closed = False
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
        while self._queue:
            self._commit(self._next_group())

    def _commit_next(self) -> None:
        """Write one group; the rest waits for another iteration of the event loop."""
        if not self._queue:
            return
        self._commit(self._next_group())
        if self._queue:
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

    def _commit(self, group: list[_PendingWrite]) -> None:
        try:
            outcomes, records = self._log.append_all([waiting.write for waiting in group])
        except Exception as error:  # noqa: BLE001 - other writes wait behind it
            self._commit_failed(group, error)
            return
        self._publish(records)
        for waiting, outcome in zip(group, outcomes, strict=True):
            if not waiting.answer.done():
                waiting.answer.set_result(outcome)

    def _commit_failed(self, group: list[_PendingWrite], error: Exception) -> None:
        """Retry each write alone, so that only the one that cannot be written fails."""
        if len(group) > 1:
            for waiting in group:
                self._commit([waiting])
            return
        logger.error("an append could not be written: %s", type(error).__name__)
        if not group[0].answer.done():
            group[0].answer.set_exception(
                Refusal(StatusCode.UNAVAILABLE, "The data file could not be written.")
            )
