"""One event of each type, all of the same loan request."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final
from uuid import uuid4

from loans.domain.events import (
    ApplicationLapsed,
    AutoApproved,
    AutoDenied,
    CreditChecked,
    CreditCheckParked,
    LoanEvent,
    LoanRequested,
    ManuallyApproved,
    ManuallyDenied,
    ManualReviewRequired,
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
REVIEW: Final = ManualReviewRequired(id=ID, occurred_at=AT, **_KNOWN, credit_score=6)
APPROVED_BY_HAND: Final = ManuallyApproved(id=ID, occurred_at=LATER, decided_by="uma", note="fine")
DENIED_BY_HAND: Final = ManuallyDenied(
    id=ID, occurred_at=LATER, decided_by="uma", reason="too_much_debt", note="sorry"
)

EVENTS: Final[tuple[LoanEvent, ...]] = (
    LAPSED,
    REQUESTED,
    PARKED,
    CHECKED,
    APPROVED,
    DENIED,
    REVIEW,
    APPROVED_BY_HAND,
    DENIED_BY_HAND,
)
