"""Delays that grow up to a limit, and the end of the retries."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loans.workers.redelivery import Redelivery

REDELIVERY = Redelivery(retries=24, longest_delay=300.0)


class TestTheDelay:
    @pytest.mark.parametrize(
        ("retry_count", "due"), [(0, 1), (1, 2), (2, 4), (8, 256), (9, 300), (10_000, 300)]
    )
    def test_doubles_up_to_the_longest(self, retry_count: int, due: float) -> None:
        delays = [REDELIVERY.delay(retry_count) for _ in range(50)]

        assert all(due / 2 <= delay <= due for delay in delays)

    def test_differs_between_events_that_failed_together(self) -> None:
        assert len({REDELIVERY.delay(9) for _ in range(50)}) > 40

    def test_is_at_least_as_long_as_asked_for(self) -> None:
        assert REDELIVERY.delay(0, at_least=120.0) == 120.0

    @given(st.integers(0, 2**31), st.floats(0, 1e9))
    def test_is_never_longer_than_the_longest(self, retry_count: int, at_least: float) -> None:
        assert 0 < REDELIVERY.delay(retry_count, at_least=at_least) <= 300.0


class TestTheEnd:
    def test_has_come_when_the_last_retry_has_failed(self) -> None:
        assert REDELIVERY.is_used_up(24, age=2 * 60 * 60)
        assert not REDELIVERY.is_used_up(23, age=2 * 60 * 60)

    def test_has_not_come_for_a_new_event_that_only_dead_workers_had(self) -> None:
        assert not REDELIVERY.is_used_up(500, age=60.0)

    def test_takes_40_minutes_at_least_and_85_at_most(self) -> None:
        assert not REDELIVERY.is_used_up(24, age=40 * 60)
        assert REDELIVERY.is_used_up(24, age=42 * 60)
        longest = sum(2.0**number for number in range(9)) + 15 * 300.0
        assert 83 * 60 < longest < 85 * 60
