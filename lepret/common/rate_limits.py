"""Limits how often something may be done. All web servers count in the same cache."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from django.conf import settings
from django.core.cache import cache
from redis.exceptions import RedisError

from lepret.common.keyed_hashes import keyed_hash
from lepret.common.outages import Outage
from lepret.common.turns import waiting_elsewhere
from lepret.environment import Rate

logger = logging.getLogger(__name__)

# How long the cache is not asked after a failure: while it hangs, every call would wait for it.
SECONDS_WITHOUT_ASKING: Final = 2.0

Clock = Callable[[], float]
T = TypeVar("T")


class Counters:
    """Counters and marks in the cache. While it is down, nothing is counted or marked."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._outage = Outage(
            logger, "the cache", consequence="calls and applications are not counted"
        )
        self._asks_from = 0.0

    def increment(self, key: str, *, seconds: int) -> int:
        """Increment a counter that expires after `seconds`. Returns its value; 0 if unknown.

        The increment is atomic, so that concurrent calls are all counted.
        """
        return self._ask(lambda: 1 if cache.add(key, 1, seconds) else cache.incr(key), if_unknown=0)

    def decrement(self, key: str) -> None:
        """Take an increment back, unless the counter has expired."""
        self._ask(lambda: cache.decr(key), if_unknown=0)

    def mark(self, key: str, *, seconds: int) -> None:
        """Make `is_marked` true for this key, for `seconds`."""
        self._ask(lambda: cache.set(key, 1, seconds), if_unknown=None)

    def is_marked(self, key: str) -> bool:
        """Whether `mark` was called for this key."""
        return self._ask(lambda: cache.get(key) is not None, if_unknown=False)

    def _ask(self, question: Callable[[], T], *, if_unknown: T) -> T:
        if self._clock() < self._asks_from:
            return if_unknown
        try:
            with waiting_elsewhere():
                answer = question()
        except ValueError:  # the counter has expired in between
            return if_unknown
        except RedisError as error:
            self._asks_from = self._clock() + SECONDS_WITHOUT_ASKING
            self._outage.begin(type(error).__qualname__)
            return if_unknown
        self._outage.end()
        return answer


@dataclass(frozen=True)
class Counted:
    """What was counted, how often in this window of time, and the seconds until the next one."""

    key: str
    times: int
    rate: Rate
    wait: float

    @property
    def is_allowed(self) -> bool:
        return self.times <= self.rate.calls

    @property
    def is_first_refusal(self) -> bool:
        """Whether it is the first in its window that is too many: the one to log."""
        return self.times == self.rate.calls + 1


class RateLimits:
    """Allows a number of times in each window of time (fixed windows), for each one counted."""

    def __init__(self, counters: Counters, clock: Clock = time.time) -> None:
        self._counters = counters
        self._clock = clock

    def count(self, purpose: str, who: str, rate: Rate) -> Counted:
        """Count once for `who`, such as an address, which the cache does not get to know."""
        now = self._clock()
        key = f"{self.key(purpose, who)}:{int(now // rate.seconds)}"
        # Longer than the window, since the clocks of web servers differ.
        times = self._counters.increment(key, seconds=2 * rate.seconds)
        return Counted(key, times, rate, rate.seconds - now % rate.seconds)

    @staticmethod
    def key(purpose: str, *parts: str) -> str:
        """A key in the cache that tells nobody what `parts` are."""
        return f"{purpose}:{keyed_hash(settings.HMAC_KEY, purpose, *parts).hex()}"


# All that this process counts: an outage of the cache is noticed, and logged, once.
COUNTERS: Final = Counters(time.monotonic)
