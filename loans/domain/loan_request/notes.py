"""What underwriters note on a request. The applicant is not shown it."""

from __future__ import annotations

from typing import Final

from loans.domain.commands import AddNote
from loans.domain.events import LoanEvent, NoteAdded
from loans.domain.loan_request.rejections import TooManyNotes, UnknownLoanRequest
from loans.domain.loan_request.state import LoanRequest, Note

MOST_NOTES: Final = 100


def add(command: AddNote, state: LoanRequest) -> list[LoanEvent]:
    """Add a note, however the request stands; nothing if it was added."""
    if state.application is None:
        raise UnknownLoanRequest
    if Note(command.by, command.text, command.issued_at) in state.notes:
        return []
    if len(state.notes) >= MOST_NOTES:
        raise TooManyNotes(MOST_NOTES)
    return [
        NoteAdded(id=command.id, occurred_at=command.issued_at, by=command.by, text=command.text)
    ]
