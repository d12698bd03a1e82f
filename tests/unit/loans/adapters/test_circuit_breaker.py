"""The circuit breaker, with a clock that the tests set."""

from __future__ import annotations

import logging
from contextlib import suppress

import pytest

from lepret.common.outages import Outage
from loans.adapters.circuit_breaker import CircuitBreaker, CircuitOpen
from tests.support.clock import Clock

FAILURES = 3
PAUSE = 5.0


class CallFailed(Exception):
    """An exception that counts as a failure."""


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> CircuitBreaker:
    return CircuitBreaker(
        failures=FAILURES,
        pause=PAUSE,
        is_failure=lambda error: isinstance(error, CallFailed),
        outage=Outage(logging.getLogger(__name__), "the server", consequence="it is left alone"),
        clock=clock,
    )


def call(breaker: CircuitBreaker, *, error: Exception | None = None) -> None:
    with suppress(CallFailed, KeyError), breaker.call():
        if error:
            raise error


def fail(breaker: CircuitBreaker, *, times: int = 1) -> None:
    for _ in range(times):
        call(breaker, error=CallFailed())


def seconds_until_a_trial(breaker: CircuitBreaker) -> float:
    with pytest.raises(CircuitOpen) as refusal:
        call(breaker)
    return refusal.value.retry_after


class TestClosed:
    def test_it_opens_after_enough_failures_in_a_row(self, breaker: CircuitBreaker) -> None:
        fail(breaker, times=FAILURES)
        assert breaker.is_open
        assert seconds_until_a_trial(breaker) == PAUSE

    @pytest.mark.parametrize("error", [None, KeyError()], ids=["a success", "another error"])
    def test_a_success_resets_the_count_of_failures(
        self, breaker: CircuitBreaker, error: Exception | None
    ) -> None:
        for _ in range(3):
            fail(breaker, times=FAILURES - 1)
            call(breaker, error=error)
        assert not breaker.is_open


class TestOpen:
    @pytest.fixture(autouse=True)
    def _opened(self, breaker: CircuitBreaker) -> None:
        fail(breaker, times=FAILURES)

    def test_it_refuses_calls_until_the_pause_is_over(
        self, breaker: CircuitBreaker, clock: Clock
    ) -> None:
        clock.now += PAUSE - 1
        assert seconds_until_a_trial(breaker) == 1
        clock.now += 1
        assert not breaker.is_open
        call(breaker)

    def test_one_call_is_a_trial_while_all_others_are_refused(
        self, breaker: CircuitBreaker, clock: Clock
    ) -> None:
        clock.now += PAUSE
        with breaker.call():
            assert seconds_until_a_trial(breaker) == 0
        with breaker.call(), breaker.call():
            assert not breaker.is_open

    def test_a_trial_that_fails_begins_another_pause(
        self, breaker: CircuitBreaker, clock: Clock
    ) -> None:
        clock.now += PAUSE
        fail(breaker)
        assert seconds_until_a_trial(breaker) == PAUSE
        clock.now += PAUSE
        call(breaker)
        fail(breaker)
        call(breaker)


def test_it_logs_each_change_once(
    breaker: CircuitBreaker, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    fail(breaker, times=FAILURES)
    for _ in range(2):
        clock.now += PAUSE
        fail(breaker)
    clock.now += PAUSE
    call(breaker)
    call(breaker)
    assert [record.getMessage() for record in caplog.records] == [
        "Lost the server (failed 3 times in a row): it is left alone",
        "Regained the server",
    ]
