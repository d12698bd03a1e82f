"""Points in time: comparing those that may be unknown, and reading what people type."""

from __future__ import annotations

from datetime import datetime
from typing import TypeVar

from django.utils import timezone
from django.utils.dateparse import parse_datetime

Moment = TypeVar("Moment", datetime, float)


def oldest(*moments: Moment | None) -> Moment | None:
    """The oldest of the known moments, or `None` if none is known."""
    return min((each for each in moments if each is not None), default=None)


def local_moment_in(text: str) -> datetime | None:
    """The time that a text such as `2027-01-04T09:00` names; `None` if it names none.

    Without an offset, it is one in the server's zone.
    """
    try:
        at = parse_datetime(text.strip())
    except ValueError:
        return None
    return at if at is None or timezone.is_aware(at) else timezone.make_aware(at)
