"""Another machine's clock, as it was last heard."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lepret.common.other_clocks import FRESH_SECONDS, OtherClock

NOW: Final = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)
SECOND: Final = timedelta(seconds=1)


class Machine:
    """One that hears another clock; its own is `off` by so much."""

    def __init__(self, off: timedelta = timedelta()) -> None:
        self.seconds = 0.0
        self.off = off
        self.other = OtherClock(clock=lambda: self.right + self.off, ticks=lambda: self.seconds)

    @property
    def right(self) -> datetime:
        return NOW + timedelta(seconds=self.seconds)


@pytest.mark.parametrize("days", [-1, 1])
def test_what_was_heard_is_counted_on_whatever_our_own_clock_says(days: int) -> None:
    machine = Machine(timedelta(days=days))
    machine.other.hear(NOW)
    machine.seconds = 30.5
    assert machine.other.now() == NOW + 30.5 * SECOND
    machine.off = -machine.off
    assert machine.other.now() == NOW + 30.5 * SECOND


def test_our_own_is_taken_if_they_agree_since_it_is_more_precise() -> None:
    machine = Machine()
    machine.seconds = 0.75
    machine.other.hear(NOW)
    assert machine.other.now() == NOW + 0.75 * SECOND


def test_our_own_is_taken_until_the_other_is_heard() -> None:
    machine = Machine(timedelta(days=1))
    assert not machine.other.is_fresh
    assert machine.other.now() == NOW + timedelta(days=1)


def test_it_is_fresh_for_a_minute() -> None:
    machine = Machine()
    machine.other.hear(NOW)
    machine.seconds = FRESH_SECONDS - 1
    assert machine.other.is_fresh
    machine.seconds = FRESH_SECONDS
    assert not machine.other.is_fresh


@given(off=st.timedeltas(timedelta(days=-400), timedelta(days=400)), passed=st.floats(0, 1e5))
def test_it_is_right_to_two_seconds_whatever_our_own_clock_says(
    off: timedelta, passed: float
) -> None:
    machine = Machine(off)
    machine.other.hear(machine.right)
    machine.seconds = passed
    assert abs(machine.other.now() - machine.right) <= 2 * SECOND
