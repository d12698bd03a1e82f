"""All loan requests with all that is known of them, for the back office."""

from __future__ import annotations

from loans.domain.events import (
    AutoApproved,
    AutoDenied,
    CreditChecked,
    LoanEvent,
    LoanRequested,
    ManuallyApproved,
    ManuallyDenied,
    ManualReviewRequired,
)
from readmodels.models import LoanRequest, Status
from readmodels.projections.base import Projection


def handle(event: LoanEvent) -> bool:
    rows = LoanRequest.objects.filter(id=event.id)
    match event:
        case LoanRequested():
            LoanRequest.objects.create(
                id=event.id,
                status=Status.RECEIVED,
                name=event.name,
                national_id=event.national_id,
                amount=event.amount,
                address=event.address,
                requested_at=event.occurred_at,
            )
        case CreditChecked():
            rows.update(credit_score=event.credit_score)
        case ManualReviewRequired():
            rows.update(status=Status.UNDER_REVIEW)
        case AutoApproved():
            rows.update(status=Status.APPROVED, decided_at=event.occurred_at)
        case AutoDenied():
            rows.update(status=Status.DENIED, decided_at=event.occurred_at)
        case ManuallyApproved():
            rows.update(
                status=Status.APPROVED,
                decided_at=event.occurred_at,
                decided_by=event.decided_by,
                note=event.note,
            )
        case ManuallyDenied():
            rows.update(
                status=Status.DENIED,
                decided_at=event.occurred_at,
                decided_by=event.decided_by,
                denial_reason=event.reason,
                note=event.note,
            )
        case _:
            return False
    return True


PROJECTION = Projection(name="loan_requests", models=(LoanRequest,), handle=handle)
