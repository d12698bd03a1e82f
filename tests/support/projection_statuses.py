"""Projections in every status, as the projector would leave them in the database."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from readmodels.models import Checkpoint, Failure, Rebuild, SkippedEvent
from readmodels.projections import PROJECTIONS
from readmodels.projector.program import fingerprint

FAILED_AT: Final = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)
EVENT_ID: Final = UUID("00000000-0000-4000-8000-000000000001")
_EVENT: Final[dict[str, Any]] = {
    "position": 7,
    "event_id": EVENT_ID,
    "event_type": "LoanRequested",
    "error": "KeyError in loan_status.py:30",
}


def checkpoint(name: str, position: int, **changes: Any) -> Checkpoint:
    """A projection at a position."""
    row = {"version": PROJECTIONS[name].version, **changes}
    return Checkpoint.objects.create(name=name, position=position, **row)


def checkpoints_at(position: int) -> None:
    """All projections, at the same position."""
    for name in PROJECTIONS:
        checkpoint(name, position)


def failure(name: str, *, in_rebuild: bool = False) -> Failure:
    """A projection, or its rebuild, that is stopped."""
    return Failure.objects.create(
        name=name,
        in_rebuild=in_rebuild,
        **_EVENT,
        stream_name="LoanRequest:any",
        attempts=3,
        tried_by=[fingerprint()],
        failed_at=FAILED_AT,
    )


def rebuild(name: str, position: int) -> Rebuild:
    """A rebuild that is under way."""
    return Rebuild.objects.create(name=name, position=position, version=2, build=2, events=5)


def skipped_event(name: str) -> SkippedEvent:
    """An event that a projection skips."""
    return SkippedEvent.objects.create(
        name=name,
        **_EVENT,
        why="sent twice by mistake",
        skipped_by="olga",
    )
