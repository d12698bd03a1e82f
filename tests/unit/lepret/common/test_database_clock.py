"""The database's clock, which web servers share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, Final

import pytest

from lepret.common import database_clock
from lepret.common.other_clocks import OtherClock

AT_THE_DATABASE: Final = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)


class FakeConnection:
    """To PostgreSQL. Counts how often it is asked."""

    vendor = "postgresql"

    def __init__(self) -> None:
        self.asked = 0

    @contextmanager
    def cursor(self) -> Iterator[Any]:
        self.asked += 1
        yield SimpleNamespace(execute=lambda sql: None, fetchone=lambda: (AT_THE_DATABASE,))


@pytest.mark.parametrize("days", [-1, 1])
def test_it_counts_whatever_our_own_says_and_is_asked_once_a_minute(
    monkeypatch: pytest.MonkeyPatch, days: int
) -> None:
    connection, seconds = FakeConnection(), 0.0
    ours = AT_THE_DATABASE + timedelta(days=days)
    clock = OtherClock(clock=lambda: ours, ticks=lambda: seconds)
    monkeypatch.setattr(database_clock, "connection", connection)
    monkeypatch.setattr(database_clock, "_clock", clock)

    assert database_clock.database_time() == AT_THE_DATABASE
    seconds = 59.0
    assert database_clock.database_time() == AT_THE_DATABASE + timedelta(seconds=59)
    assert connection.asked == 1
    seconds = 61.0
    assert database_clock.database_time() == AT_THE_DATABASE
    assert connection.asked == 2
