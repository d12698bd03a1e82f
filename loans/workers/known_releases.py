"""Which reservations were released, read for all of them together.

Most are released a moment after they were taken, by the process that has decided at once. To read
the stream of each a minute later, to see that nothing is left to do, took a tenth of all the time
that an application takes. So `ReservationReleased` events are read in the order in which they are
recorded, many at a time, and only the streams that have none are looked at one by one.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from typing import Final

from esdbclient import RecordedEvent
from esdbclient.exceptions import EventStoreDBClientException

from lepret.common.event_store_connection import SharedClient
from loans.domain.events import ReservationReleased
from loans.workers.groups import CALL_TIMEOUT_SECONDS

# How often new ones are read, and how many at once.
SECONDS_BETWEEN_READS: Final = 1.0
READ_AT_ONCE: Final = 1_000
# How many are kept in memory, at some 250 bytes each.
MOST_KEPT: Final = 20_000


class KnownReleases:
    """The releases between two positions in the event store. Thread-safe."""

    def __init__(
        self,
        connect: Callable[[], SharedClient],
        *,
        clock: Callable[[], float] = time.monotonic,
        read_at_once: int = READ_AT_ONCE,
        most_kept: int = MOST_KEPT,
    ) -> None:
        self._connect = connect
        self._clock = clock
        self._read_at_once = read_at_once
        self._most_kept = most_kept
        self._lock = threading.Lock()
        # By stream, the position of its last release between these two positions.
        self._released_at: dict[str, int] = {}
        self._from = self._to = -1
        self._are_more = False
        self._read_at = self._failed_at = -math.inf

    def __len__(self) -> int:
        """Of how many reservations the last release is kept."""
        return len(self._released_at)

    def include(self, taken: RecordedEvent) -> bool:
        """Whether a reservation was released after this event of its stream.

        Whatever holds a reservation must release it before another can take it. `False` says only
        that no release is known.
        """
        position = taken.commit_position
        assert position is not None, "only links lack it in esdbclient"
        with self._lock:
            if position > self._to:
                self._begin_at(position)
            if not self._is_known(taken, position) and position >= self._from:
                self._read_on_if_due(position)
            return self._is_known(taken, position)

    def _is_known(self, taken: RecordedEvent, position: int) -> bool:
        return self._released_at.get(taken.stream_name, -1) > position

    def _begin_at(self, position: int) -> None:
        self._from = self._to = position
        self._released_at.clear()
        self._are_more = True

    def _read_on_if_due(self, position: int) -> None:
        last = self._failed_at if self._are_more else self._read_at
        now = self._clock()
        if now - last < SECONDS_BETWEEN_READS:
            return
        self._read_at = now
        if len(self) >= self._most_kept:
            self._begin_at(self._to)
        try:
            self._read_on(position)
        except (EventStoreDBClientException, ValueError):
            # gRPC raises ValueError on a closed channel. Whoever looks at each one will tell.
            self._failed_at = now

    def _read_on(self, position: int) -> None:
        released = list(
            self._connect().read_all(
                commit_position=self._to,
                filter_include=[ReservationReleased.__name__],
                limit=self._read_at_once,
                timeout=CALL_TIMEOUT_SECONDS,
            )
        )
        for event in released:
            assert event.commit_position is not None, "only links lack it in esdbclient"
            self._released_at[event.stream_name] = event.commit_position
            self._to = event.commit_position
        self._are_more = len(released) == self._read_at_once
        if not self._are_more:
            # All was read, and so at least up to here, where an event begins.
            self._to = max(self._to, position)
