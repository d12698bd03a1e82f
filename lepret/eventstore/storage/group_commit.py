"""Group commit: whatever waits to be written shares one transaction and one sync."""

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
MAX_GROUP_OCTETS = 8 * 1024 * 1024
"""A group takes no further append once it has this many events, or octets of them."""

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Waiting:
    write: Write
    answer: asyncio.Future[Outcome]

    @property
    def events(self) -> int:
        """How many events this adds to the group."""
        return len(self.write.events) if isinstance(self.write, Append) else 1

    @property
    def octets(self) -> int:
        """How large they are."""
        if not isinstance(self.write, Append):
            return 0
        return sum(event.size for event in self.write.events)


class GroupCommit:
    """Writes to the log, on the event loop's own thread.

    What arrives while a group is written makes up the next one. A thread would leave the loop
    free for the fraction of a millisecond that a sync takes, but waking it, and the loop in
    turn, costs as much again.

    What was committed is handed to ``publish`` before anybody's append is answered: whoever
    has an answer finds their events in every read.
    """

    def __init__(self, log: Log, publish: Callable[[Sequence[Record]], None]) -> None:
        self._log = log
        self._publish = publish
        self._loop = asyncio.get_running_loop()
        self._closed = False
        self._queue: deque[_Waiting] = deque()

    async def append(self, write: Write) -> Outcome:
        """Decide and write; returns once that is on disk.

        Raises Refusal (UNAVAILABLE) when the file could not be written, or is closed.
        """
        if self._closed:
            raise Refusal(StatusCode.UNAVAILABLE, "The server is shutting down.")
        waiting = _Waiting(write, self._loop.create_future())
        self._queue.append(waiting)
        if len(self._queue) == 1:
            self._loop.call_soon(self._commit_next)
        return await waiting.answer

    def close(self) -> None:
        """Write what waits, and take no more."""
        self._closed = True
        while self._queue:
            self._commit(self._next_group())

    def _commit_next(self) -> None:
        """Write one group; what does not fit waits until others had their turn of the loop."""
        if not self._queue:
            return
        self._commit(self._next_group())
        if self._queue:
            self._loop.call_soon(self._commit_next)

    def _next_group(self) -> list[_Waiting]:
        group: list[_Waiting] = []
        events = octets = 0
        while self._queue and events < MAX_GROUP_EVENTS and octets < MAX_GROUP_OCTETS:
            waiting = self._queue.popleft()
            group.append(waiting)
            events += waiting.events
            octets += waiting.octets
        return group

    def _commit(self, group: list[_Waiting]) -> None:
        try:
            outcomes, records = self._log.append_all([waiting.write for waiting in group])
        except Exception as error:  # noqa: BLE001 - whatever it is, others wait behind it
            self._commit_failed(group, error)
            return
        self._publish(records)
        for waiting, outcome in zip(group, outcomes, strict=True):
            if not waiting.answer.done():
                waiting.answer.set_result(outcome)

    def _commit_failed(self, group: list[_Waiting], error: Exception) -> None:
        """Try each by itself, so that one that cannot be written fails alone."""
        if len(group) > 1:
            for waiting in group:
                self._commit([waiting])
            return
        logger.error("an append could not be written: %s", type(error).__name__)
        if not group[0].answer.done():
            group[0].answer.set_exception(
                Refusal(StatusCode.UNAVAILABLE, "The data file could not be written.")
            )
