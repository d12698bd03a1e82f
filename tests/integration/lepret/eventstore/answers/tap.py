"""A subscription that a thread reads, so that every wait for it is bounded."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from typing import Any

from esdbclient import CaughtUp, Checkpoint, RecordedEvent

from tests.integration.lepret.eventstore.events import commit_position
from tests.support.processes import PATIENCE

Item = RecordedEvent | Exception | str
ENDED = "ended"

_A_MOMENT = 0.1
"""Seconds in which what should not come would have come."""


class Tap:
    """What a subscription brings from the step's own streams."""

    def __init__(self, own: str, open_subscription: Callable[[], Any]) -> None:
        """Open it in a thread of its own. Raises what opening raises."""
        self.seen: list[RecordedEvent] = []
        self.checkpoints: list[int] = []
        self.checkpoints_behind = 0
        """How many named a position before an event that had come."""
        self.subscription: Any = None
        self._own = own
        self._last = -1
        self._over: Item | None = None
        self._items: queue.Queue[RecordedEvent | Exception | str] = queue.Queue()
        self._opened = threading.Event()
        threading.Thread(target=self._pump, args=(open_subscription,), daemon=True).start()
        if not self._opened.wait(PATIENCE):
            raise TimeoutError
        if self.subscription is None:
            assert isinstance(self._over, Exception)
            raise self._over

    def _pump(self, open_subscription: Callable[[], Any]) -> None:
        over: Item = ENDED
        try:
            self.subscription = open_subscription()
            self._opened.set()
            for item in self.subscription:
                self._items.put(item)
        except Exception as error:  # noqa: BLE001 - it is what is to be told
            over = error
        self._over = over
        self._opened.set()
        self._items.put(over)

    def take(self, count: int, within: float = PATIENCE) -> list[Item]:
        """The next items, with the end if it comes; fewer if the time is up."""
        got: list[Item] = []
        until = time.monotonic() + within
        while len(got) < count and not self._is_end(got):
            try:
                item = self._items.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                break
            if self._is_wanted(item):
                got.append(item)
        return got

    def rest(self, expected: int, quiet: float = _A_MOMENT) -> list[Item]:
        """As many as are expected, and what else comes until nothing has for ``quiet`` seconds."""
        got = self.take(expected)
        while not self._is_end(got) and (more := self.take(1, within=max(quiet, _A_MOMENT))):
            got += more
        return got

    def close(self) -> None:
        """Stop it. What the server has ended is left alone: stopping that takes seconds."""
        if self._over is None:
            self.subscription.stop()

    def _is_end(self, got: list[Item]) -> bool:
        return bool(got) and not isinstance(got[-1], RecordedEvent)

    def _is_wanted(self, item: Item) -> bool:
        match item:
            case Checkpoint():
                position = commit_position(item)
                self.checkpoints.append(position)
                self.checkpoints_behind += position < self._last
                return False
            case CaughtUp() | Exception() | str():
                return True
            case _ if self._own not in item.stream_name:
                return False
        self.seen.append(item)
        self._last = commit_position(item)
        return True
