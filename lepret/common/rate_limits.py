"""Limits how often something may be done. All web servers count in the same cache."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar, cast

from django.conf import settings
from django.core.cache import cache
from redis.exceptions import RedisError

from lepret.common.cache_pool import Limit, Mark
from lepret.common.keyed_hashes import keyed_hash
from lepret.common.outages import Circuit, Outage
from lepret.common.turns import waiting_elsewhere
from lepret.environment import Rate

logger = logging.getLogger(__name__)

# How long the cache is not asked after a failure.
SECONDS_WITHOUT_ASKING: Final = 2.0

Clock = Callable[[], float]
T = TypeVar("T")


class _Counting(Protocol):
    """What the cache can do beside what every cache of Django's can."""

    def count(self, limits: Mapping[str, Limit], *, unless: Mark | None = None) -> list[int]: ...


class Counters:
    """Counters and marks in the cache. While it is down, nothing is counted or marked."""

    def __init__(self, clock: Clock) -> None:
        self._circuit = Circuit(
            Outage(logger, "the cache", consequence="calls and applications are not counted"),
            failures=RedisError,
            seconds_without_asking=SECONDS_WITHOUT_ASKING,
            clock=clock,
        )

    def count(self, limits: Mapping[str, Limit], *, unless: Mark | None = None) -> list[int]:
        """Increment counters in turn, up to the first that comes over its limit: their values.

        Nothing is counted if the mark is there, which it is afterwards: see `Cache.count`.
        """
        counting = cast(_Counting, cache)
        return self._ask(lambda: counting.count(limits, unless=unless), if_unknown=[])

    def decrement(self, key: str) -> None:
        """Take an increment back, unless the counter has expired."""
        self._ask(lambda: cache.decr(key), if_unknown=0)

    def unmark(self, mark: Mark) -> None:
        """Take a mark away."""
        self._ask(lambda: cache.delete(mark.key), if_unknown=False)

    def _ask(self, question: Callable[[], T], *, if_unknown: T) -> T:
        def ask() -> T:
            # The counter may have expired in between.
            with waiting_elsewhere(), suppress(ValueError):
                return question()
            return if_unknown

        return self._circuit.ask(ask, if_unknown=if_unknown)


@dataclass(frozen=True)
class Window:
    """A counter for this window of time, and the seconds until the next window."""

    key: str
    rate: Rate
    wait: float


@dataclass(frozen=True)
class Counted(Window):
    """What was counted, and how often in this window."""

    times: int

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

    def window(self, purpose: str, who: str, rate: Rate) -> Window:
        """Where `who`, such as an address, is counted. The cache does not get to know who it is."""
        now = self._clock()
        key = f"{self.key(purpose, who)}:{int(now // rate.seconds)}"
        return Window(key, rate, rate.seconds - now % rate.seconds)

    def count(self, *windows: Window, unless: Mark | None = None) -> list[Counted]:
        """Count once in each in turn, up to the first in which it is too many: what was counted.

        It is nothing if the mark is there (see `Counters.count`), or while the cache is down.
        """
        # Longer than the window, since the clocks of web servers differ.
        limits = {each.key: Limit(each.rate.calls, 2 * each.rate.seconds) for each in windows}
        times = self._counters.count(limits, unless=unless) if limits else []
        return [
            Counted(each.key, each.rate, each.wait, number)
            for each, number in zip(windows, times, strict=False)
        ]

    @staticmethod
    def key(purpose: str, *parts: str) -> str:
        """A key in the cache that tells nobody what `parts` are."""
        return f"{purpose}:{keyed_hash(settings.HMAC_KEY, purpose, *parts).hex()}"


# All that this process counts: an outage of the cache is noticed, and logged, once.
COUNTERS: Final = Counters(time.monotonic)
