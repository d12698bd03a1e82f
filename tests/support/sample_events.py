"""One event of each type, all of the same loan request."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final
from uuid import uuid4

from loans.domain.events import (
    ApplicationLapsed,
    ApprovalProposed,
    AutoApproved,
    AutoDenied,
    ClaimExtended,
    CreditChecked,
    CreditCheckParked,
    DenialProposed,
    LoanEvent,
    LoanRequested,
    ManuallyApproved,
    ManuallyDenied,
    ManualReviewRequired,
    NoteAdded,
    RequestClaimed,
    RequestEscalated,
    RequestHandedOver,
    RequestReleased,
)
from tests.support.loans import AT, ZOE

ID: Final = uuid4()
LATER: Final = AT + timedelta(hours=1)
_KNOWN: Final[dict[str, Any]] = {
    "name": ZOE.name,
    "national_id": ZOE.national_id,
    "amount": 5000,
}

LAPSED: Final = ApplicationLapsed(id=ID, occurred_at=AT)
REQUESTED: Final = LoanRequested(id=ID, occurred_at=AT, **_KNOWN, address=ZOE.address)
PARKED: Final = CreditCheckParked(id=ID, occurred_at=AT, reason="timed out", attempts=25)
CHECKED: Final = CreditChecked(id=ID, occurred_at=AT, credit_score=6)
APPROVED: Final = AutoApproved(id=ID, occurred_at=LATER)
DENIED: Final = AutoDenied(id=ID, occurred_at=LATER)
REVIEW: Final = ManualReviewRequired(
    id=ID, occurred_at=AT, **_KNOWN, credit_score=6, requested_at=AT
)
FOR: Final = ApprovalProposed(id=ID, occurred_at=LATER, by="uma", note="fine", policy=3)
AGAINST: Final = DenialProposed(
    id=ID,
    occurred_at=LATER,
    by="ursula",
    reasons=("too_much_debt", "other"),
    reason_text="We know the house.",
    note="sorry",
    policy=3,
)
APPROVED_BY_HAND: Final = ManuallyApproved(id=ID, occurred_at=LATER, decided_by="uma", note="fine")
DENIED_BY_HAND: Final = ManuallyDenied(
    id=ID,
    occurred_at=LATER,
    decided_by="uma",
    reasons=("too_much_debt", "other"),
    reason_text="We know the house.",
    note="sorry",
)
NOTED: Final = NoteAdded(id=ID, occurred_at=LATER, by="uma", text="Called, no answer.")
CLAIMED: Final = RequestClaimed(
    id=ID, occurred_at=LATER, by="uma", until=LATER + timedelta(minutes=10)
)
EXTENDED: Final = ClaimExtended(
    id=ID, occurred_at=LATER, by="uma", until=LATER + timedelta(minutes=16)
)
RELEASED: Final = RequestReleased(id=ID, occurred_at=LATER, by="uma")
HANDED_OVER: Final = RequestHandedOver(
    id=ID, occurred_at=LATER, by="uma", to="ursula", until=LATER + timedelta(hours=4), why="Lunch."
)
ESCALATED: Final = RequestEscalated(id=ID, occurred_at=LATER, by="uma", why="Too large for me.")

EVENTS: Final[tuple[LoanEvent, ...]] = (
    LAPSED,
    REQUESTED,
    PARKED,
    CHECKED,
    APPROVED,
    DENIED,
    REVIEW,
    FOR,
    AGAINST,
    APPROVED_BY_HAND,
    DENIED_BY_HAND,
    NOTED,
    CLAIMED,
    EXTENDED,
    RELEASED,
    HANDED_OVER,
    ESCALATED,
)
