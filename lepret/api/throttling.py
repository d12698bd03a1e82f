"""How often a caller may call the API, counted in the cache that all web servers share."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from hashlib import sha256
from typing import Final, cast

from django.conf import settings
from django.core.cache import cache
from django.http import HttpRequest
from ninja.throttling import BaseThrottle
from redis.exceptions import RedisError

from lepret.api.auth import ApiRequest
from lepret.common.outages import Outage
from lepret.environment import Rate

logger = logging.getLogger(__name__)

# For so long, after the cache did not answer, it is not asked: where it is silent rather than away,
# each call would have to wait for it.
SECONDS_WITHOUT_ASKING: Final = 2.0

Clock = Callable[[], float]


class Counters:
    """Counts in the cache; where that is away, nothing is counted and everything let through."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._outage = Outage(logger, "the cache", consequence="calls of the API are not counted")
        self._asks_from = 0.0

    def raised(self, key: str, *, seconds: int) -> int:
        """A counter after it was raised by one; 0: unknown. It is forgotten after `seconds`.

        Raised in one step, so that of calls at the same moment each counts.
        """
        if self._clock() < self._asks_from:
            return 0
        try:
            count = 1 if cache.add(key, 1, seconds) else cache.incr(key)
        except ValueError:  # forgotten in between
            return 0
        except RedisError as error:
            self._asks_from = self._clock() + SECONDS_WITHOUT_ASKING
            self._outage.begin(type(error).__qualname__)
            return 0
        self._outage.end()
        return count


class _Throttle(BaseThrottle):
    """So many calls of one caller in each window of time; windows begin at round times.

    ninja's own throttles keep a caller's history as one value that they read and write back, so
    that calls at the same moment pass for one.
    """

    def __init__(self, counters: Counters, clock: Clock = time.time) -> None:
        self._counters = counters
        self._clock = clock

    def allow_request(self, request: HttpRequest) -> bool:
        rate, caller = self.rate(), self.caller_of(cast(ApiRequest, request))
        if rate is None or caller is None:
            return True
        window = int(self._clock() // rate.seconds)
        # Addresses may be forged headers of any length.
        digest = sha256(caller.encode()).hexdigest()
        key = f"calls:{digest}:{window}"
        # Kept for longer than the window, since web servers' clocks differ.
        return self._counters.raised(key, seconds=2 * rate.seconds) <= rate.calls

    def wait(self) -> float | None:
        """Seconds until the next window begins."""
        rate = self.rate()
        return None if rate is None else rate.seconds - self._clock() % rate.seconds

    def rate(self) -> Rate | None:
        """How often a caller may call; `None` for as often as it likes."""
        raise NotImplementedError

    def caller_of(self, request: ApiRequest) -> str | None:
        """Whose call it is; `None` where it is not for this throttle to count."""
        raise NotImplementedError


class UserThrottle(_Throttle):
    """Counts calls with a token, for its user."""

    def rate(self) -> Rate | None:
        rate: Rate | None = settings.API_RATE
        return rate

    def caller_of(self, request: ApiRequest) -> str | None:
        return None if request.auth.user is None else request.auth.name


class AddressThrottle(_Throttle):
    """Counts calls without a token, for the address that they come from.

    Behind proxies that is what they write into `X-Forwarded-For`: see `NINJA_NUM_PROXIES`.
    """

    def rate(self) -> Rate | None:
        rate: Rate | None = settings.API_ANONYMOUS_RATE
        return rate

    def caller_of(self, request: ApiRequest) -> str | None:
        return None if request.auth.user is not None else f"address {self.get_ident(request)}"


def throttles() -> list[BaseThrottle]:
    """Those that each call of the API passes."""
    counters = Counters(time.monotonic)
    return [UserThrottle(counters), AddressThrottle(counters)]
