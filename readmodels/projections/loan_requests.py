"""All loan requests with all their details, for the back office."""

from __future__ import annotations

from typing import assert_never

from loans.domain.events import (
    ApplicationLapsed,
    AutoApproved,
    AutoDenied,
    CreditChecked,
    CreditCheckParked,
    LoanEvent,
    LoanRequestBack,
    LoanRequested,
    LoanRequestGone,
    LossEvent,
    ManuallyApproved,
    ManuallyDenied,
    ManualReviewRequired,
)
from readmodels.models import LoanRequest, Status
from readmodels.projections.base import Projection
from readmodels.projections.rows import Rows


def handle(event: LoanEvent | LossEvent, rows: Rows[LoanRequest]) -> None:
    match event:
        case LoanRequested():
            rows.put(
                event.id,
                status=Status.RECEIVED,
                name=event.name,
                national_id=event.national_id,
                amount=event.amount,
                address=event.address,
                requested_at=event.occurred_at,
            )
        case CreditChecked():
            rows.change(event.id, credit_score=event.credit_score, parked_because="")
        case CreditCheckParked():
            rows.change(event.id, parked_because=event.reason)
        case ManualReviewRequired():
            rows.change(event.id, status=Status.UNDER_REVIEW)
        case AutoApproved():
            rows.change(event.id, status=Status.APPROVED, decided_at=event.occurred_at)
        case AutoDenied():
            rows.change(event.id, status=Status.DENIED, decided_at=event.occurred_at)
        case ManuallyApproved():
            rows.change(
                event.id,
                status=Status.APPROVED,
                decided_at=event.occurred_at,
                decided_by=event.decided_by,
                note=event.note,
            )
        case ManuallyDenied():
            rows.change(
                event.id,
                status=Status.DENIED,
                decided_at=event.occurred_at,
                decided_by=event.decided_by,
                denial_reason=event.reason,
                note=event.note,
            )
        case ApplicationLapsed():
            pass  # There was no request yet, and so there is no row.
        case LoanRequestGone():
            rows.change(event.id, gone_at=event.occurred_at)
        case LoanRequestBack():
            rows.change(event.id, gone_at=None)
        case _:
            assert_never(event)


PROJECTION = Projection(name="loan_requests", version=3, model=LoanRequest, handle=handle)
