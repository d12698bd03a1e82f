"""How long a refused application takes."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field

import pytest

from loans.application.pace import AT_FIRST, REMEMBERED, Pace
from loans.domain.reservation import OpenRequestExists
from tests.support.clock import Clock


@dataclass
class Desk:
    """Handles applications; a wait only moves the clock."""

    clock: Clock = field(default_factory=Clock)
    given_back: int = 0

    def __post_init__(self) -> None:
        self.pace = Pace(clock=self.clock, sleep=self.pass_time, before_waiting=self.give_back)

    def pass_time(self, seconds: float) -> None:
        self.clock.now += seconds

    def give_back(self) -> None:
        self.given_back += 1

    def accept(self, seconds: float, *, is_new: bool = True) -> float:
        began = self.clock.now
        with self.pace.application() as this:
            self.pass_time(seconds)
            this.is_new = is_new
        return self.clock.now - began

    def refuse(self, seconds: float = 0.01) -> float:
        began = self.clock.now
        with contextlib.suppress(OpenRequestExists), self.pace.application():
            self.pass_time(seconds)
            raise OpenRequestExists
        return round(self.clock.now - began, 6)


def test_it_takes_as_long_as_one_of_the_latest_acceptances() -> None:
    desk = Desk()
    times = [0.1, 0.2, 0.3, 0.4]
    assert [round(desk.accept(each), 6) for each in times] == times
    assert {desk.refuse() for _ in range(200)} == set(times)


def test_it_takes_as_long_if_the_view_itself_shows_the_refusal() -> None:
    desk = Desk()
    desk.accept(0.3)
    began = desk.clock.now
    with desk.pace.application() as this:
        this.is_refused = True
    assert desk.clock.now - began == pytest.approx(0.3)


def test_only_the_latest_acceptances_count() -> None:
    desk = Desk()
    for seconds in [9.0, *[0.2] * REMEMBERED]:
        desk.accept(seconds)
    assert {desk.refuse() for _ in range(200)} == {0.2}


def test_an_application_that_is_sent_again_says_nothing_about_new_ones() -> None:
    desk = Desk()
    desk.accept(0.3)
    for _ in range(2 * REMEMBERED):
        desk.accept(0.001, is_new=False)
    assert {desk.refuse() for _ in range(200)} == {0.3}


def test_before_the_first_acceptance_it_takes_a_usual_time() -> None:
    lowest, highest = AT_FIRST
    assert lowest <= Desk().refuse() <= highest


def test_a_refusal_that_took_longer_by_itself_does_not_wait() -> None:
    desk = Desk()
    desk.accept(0.1)
    assert desk.refuse(0.5) == 0.5


def test_what_others_may_need_is_given_back_before_the_wait() -> None:
    desk = Desk()
    desk.accept(0.1)
    assert desk.given_back == 0
    desk.refuse()
    assert desk.given_back == 1


def test_an_error_is_answered_at_once() -> None:
    desk = Desk()
    desk.accept(5.0)
    began = desk.clock.now
    with pytest.raises(ZeroDivisionError), desk.pace.application():
        raise ZeroDivisionError
    assert desk.clock.now == began
