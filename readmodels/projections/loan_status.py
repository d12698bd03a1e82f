"""How each request stands, for its applicant."""

from __future__ import annotations

from loans.domain.events import (
    AutoApproved,
    AutoDenied,
    LoanEvent,
    LoanRequested,
    ManuallyApproved,
    ManuallyDenied,
    ManualReviewRequired,
)
from readmodels import broadcasts
from readmodels.models import LoanStatus, Status
from readmodels.projections.base import Projection


def handle(event: LoanEvent) -> bool:
    rows = LoanStatus.objects.filter(id=event.id)
    match event:
        case LoanRequested():
            LoanStatus.objects.create(
                id=event.id,
                status=Status.RECEIVED,
                amount=event.amount,
                received_at=event.occurred_at,
            )
        case ManualReviewRequired():
            rows.update(status=Status.UNDER_REVIEW)
        case AutoApproved() | ManuallyApproved():
            rows.update(status=Status.APPROVED, decided_at=event.occurred_at)
        case AutoDenied():
            rows.update(status=Status.DENIED, decided_at=event.occurred_at)
        case ManuallyDenied():
            rows.update(
                status=Status.DENIED, decided_at=event.occurred_at, denial_reason=event.reason
            )
        case _:
            return False
    return True


PROJECTION = Projection(
    name="loan_status", models=(LoanStatus,), handle=handle, group=broadcasts.loan_request_group
)
