"""Applying for a loan, in time or too late."""

from __future__ import annotations

from loans.domain.commands import LapseApplication, RequestLoan
from loans.domain.events import ApplicationLapsed, LoanEvent, LoanRequested
from loans.domain.loan_request import credit_checks
from loans.domain.loan_request.rejections import IdAlreadyUsed
from loans.domain.loan_request.state import Application, LoanRequest, application_in, evolve
from loans.domain.policy import PolicyInForce


def request(command: RequestLoan, state: LoanRequest, in_force: PolicyInForce) -> list[LoanEvent]:
    """Record an application, and what follows from its credit report if there is one."""
    if state.application is not None:
        return _request_again(command, state.application)
    requested = LoanRequested(
        id=command.id,
        occurred_at=command.issued_at,
        name=command.name,
        national_id=command.national_id,
        amount=command.amount,
        address=command.address,
    )
    if command.credit_report is None:
        return [requested]
    now = evolve(state, requested)
    return [requested, *credit_checks.checked(command, now, command.credit_report, in_force)]


def lapse(command: LapseApplication, state: LoanRequest) -> list[LoanEvent]:
    """Prevent an application from being recorded late; nothing if it was recorded."""
    if state.application is not None:
        return []
    return [ApplicationLapsed(id=command.id, occurred_at=command.issued_at)]


def _request_again(command: RequestLoan, application: Application) -> list[LoanEvent]:
    if application == application_in(command):
        return []
    raise IdAlreadyUsed
