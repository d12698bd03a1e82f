"""The status of each loan request, for its applicant."""

from __future__ import annotations

from typing import assert_never

from loans.domain.events import (
    ApprovalProposed,
    AutoApproved,
    AutoDenied,
    CreditChecked,
    CreditCheckParked,
    DenialProposed,
    LoanRequestBack,
    LoanRequested,
    LoanRequestGone,
    ManuallyApproved,
    ManuallyDenied,
    ManualReviewRequired,
)
from readmodels.live import broadcasts
from readmodels.models import Awaiting, LoanStatus, Status
from readmodels.projections.base import Projection
from readmodels.projections.decisions import decided
from readmodels.projections.rows import Rows

Handled = (
    LoanRequested
    | CreditChecked
    | CreditCheckParked
    | ManualReviewRequired
    | ApprovalProposed
    | DenialProposed
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
            rows.change(event.id, checked_at=event.occurred_at, credit_score=event.credit_score)
        case CreditCheckParked():
            rows.change(event.id, delayed_at=event.occurred_at)
        case ManualReviewRequired():
            rows.change(
                event.id,
                status=Status.UNDER_REVIEW,
                passed_on_at=event.occurred_at,
                policy=event.policy,
            )
        case ApprovalProposed():
            rows.change(event.id, awaiting=Awaiting.SECOND)
        case DenialProposed():
            rows.change(event.id, awaiting=Awaiting.THIRD)
        case AutoApproved() | AutoDenied():
            rows.change(event.id, **decided(event))
        case ManuallyApproved() | ManuallyDenied():
            people = 1 + len(event.together_with)
            rows.change(event.id, **decided(event), people=people, awaiting="")
        case LoanRequestGone():
            rows.change(event.id, gone_at=event.occurred_at)
        case LoanRequestBack():
            rows.change(event.id, gone_at=None)
        case _:
            assert_never(event)


PROJECTION = Projection(
    name="loan_status",
    version=4,
    model=LoanStatus,
    handle=handle,
    group=broadcasts.loan_request_group,
)
