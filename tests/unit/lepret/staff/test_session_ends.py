"""When a session ends, and why."""

from __future__ import annotations

import pytest

from lepret.staff.sessions import LAST_SEEN_AT, LOGGED_IN_AT, Lifetimes, SessionEnd, why_over

HOUR = 3600.0
LIFETIMES = Lifetimes(longest=12 * HOUR, idle=HOUR)
LOGIN = 1_800_000_000.0


@pytest.mark.parametrize(
    ("last_seen", "now", "end"),
    [
        (LOGIN, LOGIN, None),
        (LOGIN, LOGIN + HOUR - 1, None),
        (LOGIN, LOGIN + HOUR, SessionEnd.IDLE),
        (LOGIN + 11.5 * HOUR, LOGIN + 12 * HOUR - 1, None),
        (LOGIN + 11.5 * HOUR, LOGIN + 12 * HOUR, SessionEnd.EXPIRED),
        (LOGIN, LOGIN + 100 * HOUR, SessionEnd.EXPIRED),
        # Another server's clock is ahead.
        (LOGIN + 5, LOGIN - 5, None),
    ],
)
def test_a_session_ends_after_its_time_or_when_it_was_idle(
    last_seen: float, now: float, end: SessionEnd | None
) -> None:
    data = {LOGGED_IN_AT: LOGIN, LAST_SEEN_AT: last_seen}
    assert why_over(data, now=now, lifetimes=LIFETIMES) == end


def test_a_session_of_an_earlier_version_has_ended() -> None:
    assert why_over({}, now=LOGIN, lifetimes=LIFETIMES) == SessionEnd.EXPIRED
