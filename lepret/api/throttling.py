"""Limits how often a caller may call the API. All web servers count in the same cache."""

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
from lepret.common.callers import address_of, network_of
from lepret.common.outages import Outage
from lepret.environment import Rate

logger = logging.getLogger(__name__)

# How long the cache is not asked after a failure: while it hangs, every call would wait for it.
SECONDS_WITHOUT_ASKING: Final = 2.0

Clock = Callable[[], float]


class Counters:
    """Counters in the cache. While the cache is down, all calls pass uncounted."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._outage = Outage(logger, "the cache", consequence="calls of the API are not counted")
        self._asks_from = 0.0

    def increment(self, key: str, *, seconds: int) -> int:
        """Increment a counter that expires after `seconds`. Returns its value; 0 if unknown.

        The increment is atomic, so that concurrent calls are all counted.
        """
        if self._clock() < self._asks_from:
            return 0
        try:
            count = 1 if cache.add(key, 1, seconds) else cache.incr(key)
        except ValueError:  # expired in between
            return 0
        except RedisError as error:
            self._asks_from = self._clock() + SECONDS_WITHOUT_ASKING
            self._outage.begin(type(error).__qualname__)
            return 0
        self._outage.end()
        return count


class _Throttle(BaseThrottle):
    """Allows a number of calls per caller in each window of time (fixed windows).

    ninja's own throttles read a caller's history and write it back, so that concurrent calls are
    counted as one.
    """

    def __init__(self, counters: Counters, clock: Clock = time.time) -> None:
        self._counters = counters
        self._clock = clock

    def allow_request(self, request: HttpRequest) -> bool:
        rate, caller = self.rate(), self.caller_of(cast(ApiRequest, request))
        if rate is None or caller is None:
            return True
        window = int(self._clock() // rate.seconds)
        digest = sha256(caller.encode()).hexdigest()
        key = f"calls:{digest}:{window}"
        # Longer than the window, since the clocks of web servers differ.
        return self._counters.increment(key, seconds=2 * rate.seconds) <= rate.calls

    def wait(self) -> float | None:
        """Seconds until the next window begins."""
        rate = self.rate()
        return None if rate is None else rate.seconds - self._clock() % rate.seconds

    def rate(self) -> Rate | None:
        """How often a caller may call; `None`: without a limit."""
        raise NotImplementedError

    def caller_of(self, request: ApiRequest) -> str | None:
        """The name of the caller; `None` if this throttle does not count the call."""
        raise NotImplementedError


class UserThrottle(_Throttle):
    """Counts calls with a token, by user."""

    def rate(self) -> Rate | None:
        rate: Rate | None = settings.API_RATE
        return rate

    def caller_of(self, request: ApiRequest) -> str | None:
        return None if request.auth.user is None else request.auth.name


class AddressThrottle(_Throttle):
    """Counts calls without a token, by address."""

    def rate(self) -> Rate | None:
        rate: Rate | None = settings.API_ANONYMOUS_RATE
        return rate

    def caller_of(self, request: ApiRequest) -> str | None:
        if request.auth.user is not None:
            return None
        return f"address {network_of(address_of(request))}"


def throttles() -> list[BaseThrottle]:
    """The throttles that each call of the API passes."""
    counters = Counters(time.monotonic)
    return [UserThrottle(counters), AddressThrottle(counters)]
