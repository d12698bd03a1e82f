"""Limits how often a caller may call the API."""

from __future__ import annotations

import time
from typing import cast

from django.conf import settings
from django.http import HttpRequest
from ninja.throttling import BaseThrottle

from lepret.api.auth import ApiRequest
from lepret.common.callers import address_of, network_of
from lepret.common.rate_limits import COUNTERS, Clock, Counters, RateLimits
from lepret.environment import Rate


class _Throttle(BaseThrottle):
    """Allows a number of calls per caller in each window of time (fixed windows).

    ninja's own throttles read a caller's history and write it back, so that concurrent calls are
    counted as one.
    """

    def __init__(self, counters: Counters, clock: Clock = time.time) -> None:
        self._limits = RateLimits(counters, clock)
        self._clock = clock

    def allow_request(self, request: HttpRequest) -> bool:
        rate, caller = self.rate(), self.caller_of(cast(ApiRequest, request))
        if rate is None or caller is None:
            return True
        counted = self._limits.count(self._limits.window("calls", caller, rate))
        return all(each.is_allowed for each in counted)

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
    return [UserThrottle(COUNTERS), AddressThrottle(COUNTERS)]
