"""How often a message that failed is delivered again, and after how long."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from lepret.common.backoff import jittered

FIRST_DELAY_SECONDS: Final = 1.0
# More doublings than any delay needs, and than floating point could not hold.
_MOST_DOUBLINGS: Final = 60


@dataclass(frozen=True)
class Redelivery:
    """`retries` of them, after delays that double from a second up to `longest_delay` seconds."""

    retries: int
    longest_delay: float

    def delay(self, retry_count: int, *, at_least: float = 0.0) -> float:
        """Seconds until the next delivery of what was delivered again `retry_count` times so far.

        Between half of what is due and all of it. `at_least` counts up to the longest delay.
        """
        return min(max(jittered(self._due(retry_count)), at_least), self.longest_delay)

    def is_used_up(self, retry_count: int, *, age: float) -> bool:
        """Whether it was the last time for a message that was recorded `age` seconds ago.

        The event store counts as a delivery also one that a worker died with, or lost its
        connection with, and had perhaps not even looked at. So the count alone does not tell that a
        message has failed so often: it must also be as old as so many delays make it.
        """
        return retry_count >= self.retries and age >= self._shortest_time()

    def _shortest_time(self) -> float:
        return sum(self._due(number) for number in range(self.retries)) / 2

    def _due(self, retry_count: int) -> float:
        doubled = FIRST_DELAY_SECONDS * 2.0 ** min(retry_count, _MOST_DOUBLINGS)
        return min(doubled, self.longest_delay)
