"""How often an outage is logged, and a service asked that is down."""

from __future__ import annotations

import logging

import pytest

from lepret.common.outages import Circuit, Outage
from tests.support.clock import Clock

logger = logging.getLogger(__name__)


@pytest.fixture(autouse=True)
def _all_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)


def test_its_begin_and_its_end_are_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    outage = Outage(logger, "the store", consequence="waiting")
    outage.end()
    for kind in ("Away", "Away", "Silent"):
        outage.begin(kind)
    for _ in range(2):
        outage.end()
    assert caplog.messages == ["Lost the store (Away): waiting", "Regained the store"]


def test_each_cause_in_words_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    outage = Outage(logger, "the store", of="a reader", consequence="waiting")
    outage.begin("Away")
    for why in ("no password", "no password", None, "no password", "no right", "no right"):
        outage.begin("Refused", why)
    outage.end()
    outage.begin("Refused", "no right")
    assert caplog.messages == [
        "a reader lost the store (Away): waiting",
        "a reader lost the store: no password; waiting",
        "a reader lost the store: no right; waiting",
        "a reader regained the store",
        "a reader lost the store: no right; waiting",
    ]


class Service:
    """Answers while it is up, and counts how often it is asked."""

    def __init__(self) -> None:
        self.is_up = True
        self.times_asked = 0

    def __call__(self) -> str:
        self.times_asked += 1
        if not self.is_up:
            raise ConnectionError
        return "answer"


def circuit_with(clock: Clock) -> Circuit:
    outage = Outage(logger, "the cache")
    return Circuit(outage, failures=ConnectionError, seconds_without_asking=2.0, clock=clock)


class TestACircuit:
    def test_asks_again_only_after_a_pause(self, caplog: pytest.LogCaptureFixture) -> None:
        clock, service = Clock(), Service()
        circuit = circuit_with(clock)

        def ask(*, later: float) -> str:
            clock.now += later
            return circuit.ask(service, if_unknown="unknown")

        assert ask(later=0) == "answer"
        service.is_up = False
        assert [ask(later=each) for each in (0, 1, 1, 1)] == ["unknown"] * 4
        assert service.times_asked == 1 + 2
        service.is_up = True
        assert [ask(later=each) for each in (0, 1, 0)] == ["unknown", "answer", "answer"]
        assert caplog.messages == ["Lost the cache (ConnectionError)", "Regained the cache"]

    def test_lets_only_one_try_whether_it_is_back(self) -> None:
        clock, service = Clock(), Service()
        circuit = circuit_with(clock)
        service.is_up = False
        circuit.ask(service, if_unknown="unknown")
        clock.now += 2

        def try_it() -> str:
            assert circuit.ask(service, if_unknown="unknown") == "unknown"
            return "answer"

        service.is_up = True
        assert circuit.ask(try_it, if_unknown="unknown") == "answer"
        assert service.times_asked == 1

    def test_lets_other_errors_through(self) -> None:
        circuit = circuit_with(Clock())
        with pytest.raises(ZeroDivisionError):
            circuit.ask(lambda: 1 // 0, if_unknown=0)
