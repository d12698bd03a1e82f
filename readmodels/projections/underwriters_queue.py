"""The requests that wait for an underwriter."""

from __future__ import annotations

from loans.domain.events import (
    LoanEvent,
    ManuallyApproved,
    ManuallyDenied,
    ManualReviewRequired,
)
from readmodels import broadcasts
from readmodels.models import PendingRequest
from readmodels.projections.base import Projection


def handle(event: LoanEvent) -> bool:
    match event:
        case ManualReviewRequired():
            PendingRequest.objects.create(
                id=event.id,
                name=event.name,
                national_id=event.national_id,
                amount=event.amount,
                credit_score=event.credit_score,
                requested_at=event.occurred_at,
            )
        case ManuallyApproved() | ManuallyDenied():
            PendingRequest.objects.filter(id=event.id).delete()
        case _:
            return False
    return True


PROJECTION = Projection(
    name="underwriters_queue",
    models=(PendingRequest,),
    handle=handle,
    group=lambda loan_request_id: broadcasts.UNDERWRITING,
)
