"""The decider of a loan request: which function carries out which command."""

from __future__ import annotations

from typing import assert_never

from loans.domain.commands import (
    AddNote,
    ApproveLoan,
    ClaimRequest,
    DenyLoan,
    EscalateRequest,
    HandOver,
    LapseApplication,
    LoanCommand,
    ParkCreditCheck,
    RecordCreditScore,
    ReleaseRequest,
    RequestLoan,
)
from loans.domain.events import LoanEvent
from loans.domain.loan_request import applications, claims, credit_checks, notes, votes
from loans.domain.loan_request.state import LoanRequest
from loans.domain.policy import PolicyInForce


def decide(command: LoanCommand, state: LoanRequest, in_force: PolicyInForce) -> list[LoanEvent]:
    """The events that `command` causes under this policy; none if it was carried out before.

    Raises:
        Rejection: the command cannot be carried out in this state.
    """
    match command:
        case RequestLoan():
            return applications.request(command, state, in_force)
        case RecordCreditScore():
            return credit_checks.record(command, state, in_force)
        case ParkCreditCheck():
            return credit_checks.park(command, state)
        case LapseApplication():
            return applications.lapse(command, state)
        case ApproveLoan():
            return votes.approve(command, state, in_force)
        case DenyLoan():
            return votes.deny(command, state, in_force)
        case AddNote():
            return notes.add(command, state)
        case ClaimRequest():
            return claims.claim(command, state, in_force)
        case ReleaseRequest():
            return claims.release(command, state)
        case HandOver():
            return claims.hand_over(command, state, in_force)
        case EscalateRequest():
            return claims.escalate(command, state)
        case _:
            assert_never(command)
