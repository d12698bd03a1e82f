"""A queue whose items become due after a delay."""

from __future__ import annotations

import heapq
import threading
import time
from itertools import count
from typing import Final, Generic, TypeVar

T = TypeVar("T")


class DelayQueue(Generic[T]):
    """Returns items when they are due, the earliest first. Thread-safe."""

    def __init__(self) -> None:
        self._condition: Final = threading.Condition()
        self._heap: list[tuple[float, int, T]] = []
        self._numbers = count()
        self._is_closed = False

    def put(self, item: T, *, after: float = 0.0) -> None:
        """Add an item that is due in `after` seconds."""
        due = time.monotonic() + after
        with self._condition:
            heapq.heappush(self._heap, (due, next(self._numbers), item))
            self._condition.notify()

    def get(self) -> T | None:
        """Wait until an item is due, and remove it. Returns `None` once the queue is closed."""
        with self._condition:
            while not self._is_closed:
                seconds = self._seconds_until_due()
                if seconds is None or seconds > 0:
                    self._condition.wait(seconds)
                    continue
                item = heapq.heappop(self._heap)[2]
                # Another thread may have waited for this item, and must now wait for the next one.
                self._condition.notify()
                return item
            return None

    def clear(self) -> None:
        """Remove all items."""
        with self._condition:
            self._heap.clear()

    def close(self) -> None:
        """Return no more items, and wake all threads that wait for one."""
        with self._condition:
            self._is_closed = True
            self._condition.notify_all()

    def _seconds_until_due(self) -> float | None:
        return self._heap[0][0] - time.monotonic() if self._heap else None
