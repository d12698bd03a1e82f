"""Moments that may not be known."""

from __future__ import annotations

from datetime import datetime
from typing import TypeVar

Moment = TypeVar("Moment", datetime, float)


def oldest(*moments: Moment | None) -> Moment | None:
    """The oldest of those that are known, or `None` where none is."""
    return min((each for each in moments if each is not None), default=None)
