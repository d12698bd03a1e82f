"""The status of each loan request, for its applicant."""

from __future__ import annotations

from typing import assert_never

from loans.domain.events import (
    AutoApproved,
    AutoDenied,
    CreditChecked,
    CreditCheckParked,
    LoanRequestBack,
    LoanRequested,
    LoanRequestGone,
    ManuallyApproved,
    ManuallyDenied,
    ManualReviewRequired,
)
from readmodels.live import broadcasts
from readmodels.models import LoanStatus, Status
from readmodels.projections.base import Projection
from readmodels.projections.rows import Rows

Handled = (
    LoanRequested
    | CreditChecked
    | CreditCheckParked
    | ManualReviewRequired
    | AutoApproved
    | AutoDenied
    | ManuallyApproved
    | ManuallyDenied
    | LoanRequestGone
    | LoanRequestBack
)


def handle(event: Handled, rows: Rows[LoanStatus]) -> None:
    match event:
        case LoanRequested():
            rows.put(
                event.id,
                status=Status.RECEIVED,
                amount=event.amount,
                received_at=event.occurred_at,
            )
        case CreditChecked():
            rows.change(event.id, checked_at=event.occurred_at)
        case CreditCheckParked():
            rows.change(event.id, delayed_at=event.occurred_at)
        case ManualReviewRequired():
            rows.change(event.id, status=Status.UNDER_REVIEW, passed_on_at=event.occurred_at)
        case AutoApproved() | ManuallyApproved():
            rows.change(event.id, status=Status.APPROVED, decided_at=event.occurred_at)
        case AutoDenied():
            rows.change(event.id, status=Status.DENIED, decided_at=event.occurred_at)
        case ManuallyDenied():
            rows.change(
                event.id,
                status=Status.DENIED,
                decided_at=event.occurred_at,
                denial_reason=event.reason,
            )
        case LoanRequestGone():
            rows.change(event.id, gone_at=event.occurred_at)
        case LoanRequestBack():
            rows.change(event.id, gone_at=None)
        case _:
            assert_never(event)


PROJECTION = Projection(
    name="loan_status",
    version=3,
    model=LoanStatus,
    handle=handle,
    group=broadcasts.loan_request_group,
)
