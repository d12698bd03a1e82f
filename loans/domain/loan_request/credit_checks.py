"""What the credit bureau says of a request, late or never, and what follows from it at once."""

from __future__ import annotations

from typing import Any, assert_never

from loans.domain.commands import ParkCreditCheck, RecordCreditScore, RequestLoan
from loans.domain.credit_report import CreditReport
from loans.domain.events import (
    AutoApproved,
    AutoDenied,
    CreditChecked,
    CreditCheckParked,
    LoanEvent,
    ManualReviewRequired,
)
from loans.domain.loan_request.rejections import UnknownLoanRequest
from loans.domain.loan_request.state import LoanRequest
from loans.domain.policy import Assessment, PolicyInForce, assess

Checking = RequestLoan | RecordCreditScore


def record(
    command: RecordCreditScore, state: LoanRequest, in_force: PolicyInForce
) -> list[LoanEvent]:
    """Record the credit report of a request that has none, and what follows from it."""
    if state.application is None:
        raise UnknownLoanRequest
    if not _is_wanted(state):
        return []
    return checked(command, state, command.credit_report, in_force)


def park(command: ParkCreditCheck, state: LoanRequest) -> list[LoanEvent]:
    """Record why the credit bureau is asked no more about a request that has no report."""
    if state.application is None:
        raise UnknownLoanRequest
    if not _is_wanted(state) or state.parked == command.reason:
        return []
    return [
        CreditCheckParked(
            id=command.id,
            occurred_at=command.issued_at,
            reason=command.reason,
            attempts=command.attempts,
        )
    ]


def checked(
    command: Checking, state: LoanRequest, report: CreditReport, in_force: PolicyInForce
) -> list[LoanEvent]:
    """The credit report of a request, and what the policy makes of it."""
    bureau = in_force.policy.bureau
    return [
        CreditChecked(
            id=command.id,
            occurred_at=command.issued_at,
            credit_score=report.score,
            factors=report.factors,
            scored_at=report.scored_at,
            agency=bureau.name if bureau else "",
        ),
        _assessed(command, state, report, in_force),
    ]


def _is_wanted(state: LoanRequest) -> bool:
    return state.credit_score is None and state.decision is None


def _assessed(
    command: Checking, state: LoanRequest, report: CreditReport, in_force: PolicyInForce
) -> LoanEvent:
    assert state.application is not None, "only what was requested is checked"
    assert state.requested_at is not None, "only what was requested is checked"
    same: dict[str, Any] = {
        "id": command.id,
        "occurred_at": command.issued_at,
        "policy": in_force.version,
    }
    match assess(report, state.application.amount, in_force.policy):
        case Assessment.APPROVE:
            return AutoApproved(**same)
        case Assessment.DENY:
            return AutoDenied(**same, reasons=in_force.policy.explaining(report.factors))
        case Assessment.REVIEW:
            return ManualReviewRequired(
                **same,
                name=state.application.name,
                national_id=state.application.national_id,
                amount=state.application.amount,
                credit_score=report.score,
                factors=report.factors,
                requested_at=state.requested_at,
            )
        case unreachable:
            assert_never(unreachable)
