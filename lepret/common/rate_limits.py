"""Limits how often something may be done. All web servers count in the same cache."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar, cast

from django.conf import settings
from django.core.cache import cache
from redis.exceptions import RedisError

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

    def increment_all(self, lifetimes: Mapping[str, int]) -> Mapping[str, int]: ...


class Counters:
    """Counters and marks in the cache. While it is down, nothing is counted or marked."""

    def __init__(self, clock: Clock) -> None:
        self._circuit = Circuit(
            Outage(logger, "the cache", consequence="calls and applications are not counted"),
            failures=RedisError,
            seconds_without_asking=SECONDS_WITHOUT_ASKING,
            clock=clock,
        )

    def look(self, *keys: str) -> dict[str, int]:
        """The counters and marks that are there, with their values, in one round trip."""
        return self._ask(lambda: cache.get_many(keys), if_unknown={})

    def increment(self, lifetimes: Mapping[str, int]) -> Mapping[str, int]:
        """Increment counters, in one round trip; returns those that are known, with their values.

        Each expires after its lifetime, in seconds. It is atomic for each counter, so that
        concurrent calls are all counted.
        """
        counters = cast(_Counting, cache)
        return self._ask(lambda: counters.increment_all(lifetimes), if_unknown={})

    def decrement(self, key: str) -> None:
        """Take an increment back, unless the counter has expired."""
        self._ask(lambda: cache.decr(key), if_unknown=0)

    def mark(self, key: str, *, seconds: int) -> None:
        """Have `look` find this key, for `seconds`."""
        self._ask(lambda: cache.set(key, 1, seconds), if_unknown=None)

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

    def count(self, window: Window) -> Counted:
        """Count once."""
        (counted,) = self.count_in([window])
        return counted

    def count_in(self, windows: Iterable[Window]) -> list[Counted]:
        """Count once in each of these windows, in one round trip."""
        windows = list(windows)
        # Longer than the window, since the clocks of web servers differ.
        lifetimes = {each.key: 2 * each.rate.seconds for each in windows}
        times = self._counters.increment(lifetimes) if lifetimes else {}
        return [Counted(each.key, each.rate, each.wait, times.get(each.key, 0)) for each in windows]

    @staticmethod
    def key(purpose: str, *parts: str) -> str:
        """A key in the cache that tells nobody what `parts` are."""
        return f"{purpose}:{keyed_hash(settings.HMAC_KEY, purpose, *parts).hex()}"


# All that this process counts: an outage of the cache is noticed, and logged, once.
COUNTERS: Final = Counters(time.monotonic)
