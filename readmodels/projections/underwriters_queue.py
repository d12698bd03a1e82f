"""The requests that wait for an underwriter."""

from __future__ import annotations

from typing import assert_never

from loans.domain.events import (
    LoanRequestBack,
    LoanRequestGone,
    ManuallyApproved,
    ManuallyDenied,
    ManualReviewRequired,
)
from readmodels.live import broadcasts
from readmodels.models import PendingRequest
from readmodels.projections.base import Projection
from readmodels.projections.rows import Rows

Handled = (
    ManualReviewRequired | ManuallyApproved | ManuallyDenied | LoanRequestGone | LoanRequestBack
)


def handle(event: Handled, rows: Rows[PendingRequest]) -> None:
    match event:
        case ManualReviewRequired():
            rows.put(
                event.id,
                name=event.name,
                national_id=event.national_id,
                amount=event.amount,
                credit_score=event.credit_score,
                requested_at=event.occurred_at,
            )
        case ManuallyApproved() | ManuallyDenied():
            rows.remove(event.id)
        case LoanRequestGone():
            rows.change(event.id, gone_at=event.occurred_at)
        case LoanRequestBack():
            rows.change(event.id, gone_at=None)
        case _:
            assert_never(event)


PROJECTION = Projection(
    name="underwriters_queue",
    version=3,
    model=PendingRequest,
    handle=handle,
    group=lambda loan_request_id: broadcasts.UNDERWRITING,
)
