"""Deciding again where someone else was quicker."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

import stamina

from loans.event_store import StaleRevision

T = TypeVar("T")

ATTEMPTS: Final = 5


def until_not_stale(decide_and_append: Callable[[], T]) -> T:
    """Do it, and as long as others are quicker again, on the streams as they then are.

    Raises:
        StaleRevision: others were quicker, `ATTEMPTS` times in a row.
    """
    for attempt in stamina.retry_context(
        on=StaleRevision,
        attempts=ATTEMPTS,
        timeout=None,
        wait_initial=0.005,
        wait_max=0.1,
        wait_jitter=0.02,
    ):
        with attempt:
            return decide_and_append()
    raise AssertionError("retry_context either returns or raises")
