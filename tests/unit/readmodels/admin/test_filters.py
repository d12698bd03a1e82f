"""The days that lists are filtered by."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from readmodels.admin.filters import ranges_of_days

LONDON = ZoneInfo("Europe/London")


def days(now: datetime) -> dict[str, tuple[datetime, datetime]]:
    return {name: (first, end) for name, first, end in ranges_of_days(now)}


def test_yesterday_ends_where_today_begins_and_last_week_on_monday() -> None:
    found = days(datetime(2026, 11, 29, 1, 30, tzinfo=UTC))  # a Sunday
    assert found["Today"] == (
        datetime(2026, 11, 29, tzinfo=UTC),
        datetime(2026, 11, 30, tzinfo=UTC),
    )
    assert found["Yesterday"] == (datetime(2026, 11, 28, tzinfo=UTC), found["Today"][0])
    assert found["This week"] == (
        datetime(2026, 11, 23, tzinfo=UTC),
        datetime(2026, 11, 30, tzinfo=UTC),
    )
    assert found["Last week"] == (datetime(2026, 11, 16, tzinfo=UTC), found["This week"][0])


def test_days_begin_at_midnight_of_the_zone_also_when_the_clocks_change() -> None:
    # The clocks went back at 02:00 on Sunday 25 October.
    first, end = days(datetime(2026, 10, 26, 9, tzinfo=LONDON))["Yesterday"]
    assert first.astimezone(UTC) == datetime(2026, 10, 24, 23, tzinfo=UTC)
    assert end.astimezone(UTC) == datetime(2026, 10, 26, tzinfo=UTC)
    assert str(first) == "2026-10-25 00:00:00+01:00"


@pytest.mark.parametrize("day", [(2024, 2, 29), (2026, 1, 31), (2026, 12, 31)])
def test_months_and_years_have_ends(day: tuple[int, int, int]) -> None:
    found = days(datetime(*day, 12, tzinfo=UTC))
    first, end = found["This month"]
    assert first.day == end.day == 1
    assert timedelta(days=28) <= end - first <= timedelta(days=31)
    assert found["Last month"][1] == first
    assert found["Last month"][0].day == 1
    assert found["This year"][1].year == day[0] + 1
