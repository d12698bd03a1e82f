"""Group commit: whatever waits to be appended shares one transaction and one sync."""

import asyncio
import logging
import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lepret.eventstore.appends import Append, Outcome, Write
from lepret.eventstore.log import Log
from lepret.eventstore.records import Record
from lepret.eventstore.rpc import Refusal, Status

MAX_GROUP_EVENTS = 1000
"""A group takes no further append once it has this many events."""

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Waiting:
    write: Write
    answer: asyncio.Future[Outcome]

    @property
    def events(self) -> int:
        """How many events this adds to the group."""
        return len(self.write.events) if isinstance(self.write, Append) else 1


class GroupCommit:
    """The one thread that writes to the log.

    What was committed is handed to ``publish`` on the event loop before anybody's append is
    answered: whoever has an answer finds their events in every read.
    """

    def __init__(self, log: Log, publish: Callable[[Sequence[Record]], None]) -> None:
        self._log = log
        self._publish = publish
        self._loop = asyncio.get_running_loop()
        self._closed = False
        self._queue: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="group-commit")
        self._thread.start()

    async def append(self, write: Write) -> Outcome:
        """Decide and write; returns once that is on disk.

        Raises Refusal (UNAVAILABLE) when the file could not be written, or is closed.
        """
        if self._closed:
            raise Refusal(Status.UNAVAILABLE, "The server is shutting down.")
        waiting = _Waiting(write, self._loop.create_future())
        self._queue.put(waiting)
        return await waiting.answer

    async def close(self) -> None:
        """Write what waits, then end the thread."""
        self._closed = True
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        open_ = True
        while open_:
            group, open_ = self._next_group()
            if group:
                self._commit(group)

    def _next_group(self) -> tuple[list[_Waiting], bool]:
        """Wait for an append, then take whatever else waits; False with the last group."""
        group: list[_Waiting] = []
        events = 0
        waiting = self._queue.get()
        while waiting is not None:
            group.append(waiting)
            events += waiting.events
            if events >= MAX_GROUP_EVENTS:
                return group, True
            try:
                waiting = self._queue.get_nowait()
            except queue.Empty:
                return group, True
        return group, False

    def _commit(self, group: list[_Waiting]) -> None:
        try:
            outcomes, records = self._log.append_all([waiting.write for waiting in group])
        except Exception as error:  # noqa: BLE001 - whatever it is, others wait behind it
            self._commit_failed(group, error)
            return
        self._loop.call_soon_threadsafe(self._answer, group, outcomes, records)

    def _commit_failed(self, group: list[_Waiting], error: Exception) -> None:
        """Try each by itself, so that one that cannot be written fails alone."""
        if len(group) > 1:
            for waiting in group:
                self._commit([waiting])
            return
        logger.error("an append could not be written: %s", type(error).__name__)
        self._loop.call_soon_threadsafe(_refuse, group[0])

    def _answer(
        self, group: list[_Waiting], outcomes: list[Outcome], records: list[Record]
    ) -> None:
        self._publish(records)
        for waiting, outcome in zip(group, outcomes, strict=True):
            if not waiting.answer.done():
                waiting.answer.set_result(outcome)


def _refuse(waiting: _Waiting) -> None:
    if not waiting.answer.done():
        waiting.answer.set_exception(
            Refusal(Status.UNAVAILABLE, "The data file could not be written.")
        )
