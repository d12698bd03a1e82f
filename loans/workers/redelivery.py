"""How often an event that failed is delivered again, and after which delays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from lepret.common.backoff import jittered

FIRST_DELAY_SECONDS: Final = 1.0
# More than any delay needs, and few enough for a float to hold the result.
_MOST_DOUBLINGS: Final = 60


@dataclass(frozen=True)
class Redelivery:
    """`retries` retries, with delays that double from one second up to `longest_delay` seconds."""

    retries: int
    longest_delay: float

    def delay(self, retry_count: int, *, at_least: float = 0.0) -> float:
        """Seconds to wait before retry number `retry_count`, counted from 0, with jitter.

        Not less than `at_least`, and never more than the longest delay.
        """
        return min(max(jittered(self._due(retry_count)), at_least), self.longest_delay)

    def is_used_up(self, retry_count: int, *, age: float) -> bool:
        """Whether there are no retries left for an event that was recorded `age` seconds ago.

        The event store also counts deliveries to workers that died or lost their connection,
        perhaps before they handled the event. So the count alone does not prove that so many tries
        have failed: the event must also be as old as that many delays take.
        """
        return retry_count >= self.retries and age >= self._shortest_time()

    def _shortest_time(self) -> float:
        return sum(self._due(number) for number in range(self.retries)) / 2

    def _due(self, retry_count: int) -> float:
        doubled = FIRST_DELAY_SECONDS * 2.0 ** min(retry_count, _MOST_DOUBLINGS)
        return min(doubled, self.longest_delay)
