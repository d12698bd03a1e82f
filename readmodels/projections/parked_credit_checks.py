"""The loan requests whose credit checks are parked, for the back office."""

from __future__ import annotations

from typing import assert_never

from loans.domain.events import (
    AutoApproved,
    AutoDenied,
    CreditChecked,
    CreditCheckParked,
    LoanRequestGone,
    ManuallyApproved,
    ManuallyDenied,
)
from readmodels.models import ParkedCreditCheck
from readmodels.projections.base import Projection
from readmodels.projections.rows import Rows

Handled = (
    CreditCheckParked
    | CreditChecked
    | AutoApproved
    | AutoDenied
    | ManuallyApproved
    | ManuallyDenied
    | LoanRequestGone
)


def handle(event: Handled, rows: Rows[ParkedCreditCheck]) -> None:
    match event:
        case CreditCheckParked():
            # It may have been parked before, and have failed again.
            rows.remove(event.id)
            rows.add(
                event.id,
                reason=event.reason,
                attempts=event.attempts,
                parked_at=event.occurred_at,
            )
        case (
            CreditChecked()
            | AutoApproved()
            | AutoDenied()
            | ManuallyApproved()
            | ManuallyDenied()
            | LoanRequestGone()
        ):
            rows.remove(event.id)
        case _:
            assert_never(event)


PROJECTION = Projection(
    name="parked_credit_checks", version=2, model=ParkedCreditCheck, handle=handle
)
