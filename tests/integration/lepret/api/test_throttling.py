"""Throttling with a real Valkey, and while it is down."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest
from pytest_django import Settings

from lepret.environment import Rate
from lepret.settings import CACHES
from tests.support.api import Caller, underwriters_tool
from tests.support.processes import wait_until
from tests.support.valkey import RunningValkey

QUEUE = "/underwriting/queue"
DAY = 86_400


@pytest.fixture
def _counts_in_valkey(shared_valkey: RunningValkey, settings: Settings) -> None:
    settings.CACHES = cache_in(shared_valkey)


def cache_in(valkey: RunningValkey) -> dict[str, Any]:
    """The project's cache settings, with a key prefix of this test's own."""
    return {"default": {**CACHES["default"], "LOCATION": valkey.url, "KEY_PREFIX": str(uuid4())}}


@pytest.mark.django_db
@pytest.mark.usefixtures("_counts_in_valkey")
def test_a_user_who_calls_too_often_is_told_when_to_call_again(settings: Settings) -> None:
    settings.API_RATE = Rate(2, DAY)
    tool, other = underwriters_tool("uma"), underwriters_tool("ulla")
    assert [tool.get(QUEUE).status_code for _ in range(3)] == [200, 200, 429]

    response = tool.get(QUEUE)

    assert response["Content-Type"] == "application/problem+json"
    assert response.json()["detail"] == "Too many requests."
    assert response["Retry-After"].isdigit()
    assert 0 < int(response["Retry-After"]) <= DAY
    assert other.get(QUEUE).status_code == 200
    assert Caller().post("/loan-requests", {}).status_code == 422


@pytest.mark.usefixtures("_counts_in_valkey")
def test_each_of_concurrent_calls_is_counted(settings: Settings) -> None:
    settings.API_ANONYMOUS_RATE = Rate(5, DAY)
    with ThreadPoolExecutor(20) as threads:
        calls = [threads.submit(Caller().post, "/loan-requests", {}) for _ in range(20)]
    answers = sorted(each.result().status_code for each in calls)
    assert answers == [422] * 5 + [429] * 15


@pytest.mark.usefixtures("_counts_in_valkey")
def test_without_a_rate_nobody_is_refused(settings: Settings) -> None:
    assert settings.API_ANONYMOUS_RATE is None
    answers = [Caller().post("/loan-requests", {}) for _ in range(5)]
    assert {each.status_code for each in answers} == {422}


def test_while_valkey_is_down_calls_pass_and_are_counted_again_afterwards(
    valkey: RunningValkey, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    settings.CACHES = cache_in(valkey)
    settings.API_ANONYMOUS_RATE = Rate(3, DAY)

    def status() -> int:
        answer: int = Caller().post("/loan-requests", {}).status_code
        return answer

    assert [status() for _ in range(4)] == [422, 422, 422, 429]
    with caplog.at_level(logging.INFO, logger="lepret.common.rate_limits"):
        valkey.stop()
        assert {status() for _ in range(20)} == {422}
        valkey.restart()
        # Valkey may or may not have kept the counters.
        wait_until(lambda: status() == 429, what="calls are counted again")
    words = [
        each.getMessage() for each in caplog.records if each.name == "lepret.common.rate_limits"
    ]
    assert words == [
        "Lost the cache (ConnectionError): calls and applications are not counted",
        "Regained the cache",
    ]
