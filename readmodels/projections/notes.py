"""What rows say of the underwriters' notes."""

from __future__ import annotations

from typing import TypedDict

from loans.domain.events import NoteAdded


class Note(TypedDict):
    """What an underwriter noted, as the column `notes` keeps it. `at` is a time in ISO 8601."""

    by: str
    at: str
    text: str


def note_in(event: NoteAdded) -> Note:
    """The note that was added."""
    return Note(by=event.by, at=event.occurred_at.isoformat(), text=event.text)
