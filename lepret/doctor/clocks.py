"""Whether this machine's clock agrees with those of the event store and PostgreSQL.

Nothing is decided by such a comparison (docs/decisions/0036). But one of them is wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final

from django.db import connections

from lepret.doctor.databases import has_a_clock, time_at, variable_of
from lepret.doctor.event_store import shared_client
from lepret.doctor.report import SECONDS_FOR_AN_ANSWER, Trouble, all_at_once

# The event store says the time to the second. Machines with NTP differ by much less.
MOST_SECONDS_OFF: Final = 5.0


def agree() -> str:
    """See that they agree.

    Raises:
        Trouble: they do not, or one does not tell the time.
    """
    clocks = others()
    told = all_at_once(
        {name: partial(_seconds_ahead, ask) for name, ask in clocks.items()},
        seconds=SECONDS_FOR_AN_ANSWER,
    )
    silent = [name for name, each in told.items() if not each.done() or each.exception()]
    ahead = {name: each.result() for name, each in told.items() if name not in silent}
    wrong = [_in_words(name, by) for name, by in ahead.items() if abs(by) > MOST_SECONDS_OFF]
    if wrong:
        raise Trouble(f"{', '.join(wrong)}: set the wrong one, by NTP")
    if silent:
        raise Trouble(f"not compared with {', '.join(silent)}, which does not tell the time")
    return f"this machine's agrees with {', '.join(clocks)}, to {MOST_SECONDS_OFF:g} s"


def others() -> dict[str, Callable[[], datetime]]:
    """The clocks of other machines, by whose they are: each asks for the time there."""
    databases = [alias for alias in connections if has_a_clock(alias)]
    return {
        "the event store": _time_at_event_store,
        **{f"{variable_of(each)}'s database": partial(time_at, each) for each in databases},
    }


def _time_at_event_store() -> datetime:
    client = shared_client()
    moment = client.store_time(timeout=SECONDS_FOR_AN_ANSWER)
    if not client.clock.is_fresh:
        raise Trouble("its answers have no date")
    return moment


def _seconds_ahead(ask: Callable[[], datetime]) -> float:
    """How far the clock there is ahead of ours at least, while the question was under way."""
    before = datetime.now(UTC)
    there = ask()
    after = datetime.now(UTC)
    if before <= there <= after:
        return 0.0
    return (there - (after if there > after else before)).total_seconds()


def _in_words(name: str, ahead: float) -> str:
    direction = "behind" if ahead > 0 else "ahead of"
    return f"this machine's is {timedelta(seconds=round(abs(ahead)))} {direction} that of {name}"
