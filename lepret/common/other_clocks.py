"""What time it is on another machine.

The clocks of two machines may differ by any amount. So a time that a machine has written is
compared only with the time on that machine: what it says with an answer, counted on from there.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

# For how long a time that was heard is counted on. A clock that is set is noticed after that.
FRESH_SECONDS: Final = 60.0

# Some say the time to the second, and a moment passes until it is heard. With a clock that agrees
# to within this, our own is the more precise one.
_AGREES_WITHIN: Final = timedelta(seconds=2)


class OtherClock:
    """Another machine's clock, as it was last heard; until then, our own. Thread-safe.

    `clock` is our own, `ticks` counts seconds and is never set.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        ticks: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._ticks = ticks
        self._heard: tuple[datetime, float] | None = None

    def hear(self, moment: datetime) -> None:
        """Note that the other clock says so now."""
        ours = self._clock()
        agrees = abs(moment - ours) <= _AGREES_WITHIN
        self._heard = (ours if agrees else moment, self._ticks())

    @property
    def is_fresh(self) -> bool:
        """Whether it was heard lately."""
        return self._heard is not None and self._ticks() - self._heard[1] < FRESH_SECONDS

    def now(self) -> datetime:
        """The time there."""
        if self._heard is None:
            return self._clock()
        moment, heard_at = self._heard
        return moment + timedelta(seconds=self._ticks() - heard_at)
