"""Comparing points in time, some of which may be unknown."""

from __future__ import annotations

from datetime import datetime
from typing import TypeVar

Moment = TypeVar("Moment", datetime, float)


def oldest(*moments: Moment | None) -> Moment | None:
    """The oldest of the known moments, or `None` if none is known."""
    return min((each for each in moments if each is not None), default=None)
