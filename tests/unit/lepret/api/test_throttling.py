"""Which calls are counted together, for how long, and what happens if the cache is down."""

from __future__ import annotations

import logging
from typing import cast

import pytest
from django.contrib.auth.models import User
from django.core.cache import cache
from django.test import RequestFactory
from pytest_django import Settings

from lepret.api.auth import ApiRequest, Caller
from lepret.api.throttling import AddressThrottle, UserThrottle
from lepret.common.rate_limits import SECONDS_WITHOUT_ASKING, Counters
from lepret.environment import Rate
from lepret.settings import CACHES
from tests.support.clock import Clock
from tests.support.processes import free_port


@pytest.fixture
def clock() -> Clock:
    cache.clear()
    return Clock()


@pytest.fixture(autouse=True)
def _rates(settings: Settings) -> None:
    settings.API_RATE = Rate(2, 60)
    settings.API_ANONYMOUS_RATE = Rate(1, 60)


def call(user: int | None = None, /, address: str = "192.0.2.1", **headers: str) -> ApiRequest:
    request = cast(ApiRequest, RequestFactory(REMOTE_ADDR=address).get("/api/", headers=headers))
    request.auth = Caller(None if user is None else User(pk=user))
    return request


class TestUsers:
    @pytest.fixture
    def throttle(self, clock: Clock) -> UserThrottle:
        return UserThrottle(Counters(clock), clock)

    def test_the_rate_limits_the_calls_in_each_window(
        self, throttle: UserThrottle, clock: Clock
    ) -> None:
        assert [throttle.allow_request(call(1)) for _ in range(4)] == [True, True, False, False]
        wait = throttle.wait()
        assert wait == 60 - 1_000_020 % 60
        clock.now += wait
        assert [throttle.allow_request(call(1)) for _ in range(3)] == [True, True, False]

    def test_each_user_is_counted_separately_at_all_addresses(self, throttle: UserThrottle) -> None:
        calls = [call(1, address=f"192.0.2.{n}") for n in range(3)]
        assert [throttle.allow_request(each) for each in calls] == [True, True, False]
        assert throttle.allow_request(call(2))

    def test_calls_without_a_token_are_not_counted(self, throttle: UserThrottle) -> None:
        assert all(throttle.allow_request(call()) for _ in range(5))

    def test_without_a_rate_nothing_is_counted(
        self, throttle: UserThrottle, settings: Settings
    ) -> None:
        settings.API_RATE = None
        assert all(throttle.allow_request(call(1)) for _ in range(5))
        assert throttle.wait() is None


class TestAddresses:
    @pytest.fixture
    def throttle(self, clock: Clock) -> AddressThrottle:
        return AddressThrottle(Counters(clock), clock)

    def test_each_address_is_counted_separately(self, throttle: AddressThrottle) -> None:
        addresses = ["192.0.2.1", "192.0.2.1", "192.0.2.2"]
        allowed = [throttle.allow_request(call(address=each)) for each in addresses]
        assert allowed == [True, False, True]

    def test_calls_with_a_token_are_not_counted(self, throttle: AddressThrottle) -> None:
        assert all(throttle.allow_request(call(1)) for _ in range(5))

    @pytest.mark.parametrize(("proxies", "allowed"), [(0, False), (1, True), (2, False)])
    def test_behind_proxies_only_their_own_entries_count(
        self, throttle: AddressThrottle, settings: Settings, proxies: int, *, allowed: bool
    ) -> None:
        # Somebody claims an address, and a proxy adds the true one.
        settings.WEB_PROXIES = proxies
        for true_one in ("192.0.2.7", "192.0.2.8"):
            answer = throttle.allow_request(call(**{"X-Forwarded-For": f"forged, {true_one}"}))
        assert answer is allowed


class TestWhileTheCacheIsDown:
    def test_calls_pass_and_it_is_logged_once(
        self, clock: Clock, settings: Settings, caplog: pytest.LogCaptureFixture
    ) -> None:
        nowhere = f"redis://127.0.0.1:{free_port()}/0"
        settings.CACHES = {"default": {**CACHES["default"], "LOCATION": nowhere}}
        throttle = UserThrottle(Counters(clock), clock)
        with caplog.at_level(logging.INFO, logger="lepret.common.rate_limits"):
            for _ in range(5):
                assert throttle.allow_request(call(1))
                clock.now += SECONDS_WITHOUT_ASKING
        (record,) = caplog.records
        assert record.getMessage().startswith("Lost the cache (ConnectionError)")
