"""How long one answer may wait, in all its calls together."""

from __future__ import annotations

import pytest
from django.http import HttpRequest, HttpResponse
from pytest_django import Settings

from lepret.common import patience
from lepret.common.patience import limited_patience, waiting


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(patience, "time", clock)
    return clock


def fail_after(seconds: float, clock: Clock) -> None:
    with waiting(seconds):
        clock.now += seconds
        raise RuntimeError


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


def test_without_a_request_each_call_has_its_own_time_out() -> None:
    for _ in range(3):
        with waiting(5) as seconds:
            assert seconds == 5


def test_in_a_request_the_calls_share_the_time(clock: Clock, settings: Settings) -> None:
    settings.EVENTSTORE_TIMEOUT_SECONDS = 5.0
    given = list[float | None]()

    def three_calls(request: HttpRequest) -> HttpResponse:
        for _ in range(2):
            with waiting(4) as seconds:
                given.append(seconds)
                clock.now += 3
            clock.now += 100  # The credit bureau's, and the database's, do not count.
        with pytest.raises(TimeoutError), waiting(4):
            pass
        return HttpResponse()

    view = limited_patience(three_calls)
    view(HttpRequest())
    assert given == [4, 2]
    clock.now += 1
    view(HttpRequest())
    assert given == [4, 2] * 2, "the next request has its own"


def test_a_call_that_fails_counts_too(clock: Clock, settings: Settings) -> None:
    def failing_call(_: HttpRequest) -> HttpResponse:
        with pytest.raises(RuntimeError):
            fail_after(4, clock)
        with waiting(None) as seconds:
            assert seconds == settings.EVENTSTORE_TIMEOUT_SECONDS - 4
        return HttpResponse()

    limited_patience(failing_call)(HttpRequest())
