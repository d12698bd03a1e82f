"""Who works on a request: one underwriter at a time, for as long as their claim lasts.

Nothing happens when a claim runs out: from then on it counts for nothing. So what somebody has
forgotten, or had open in a browser that crashed, is free again by itself.
"""

from __future__ import annotations

from datetime import datetime

from loans.domain.commands import ClaimRequest, EscalateRequest, HandOver, ReleaseRequest
from loans.domain.events import (
    ClaimExtended,
    LoanEvent,
    RequestClaimed,
    RequestEscalated,
    RequestHandedOver,
    RequestReleased,
)
from loans.domain.loan_request.rejections import (
    AlreadyDecided,
    ClaimedByAnother,
    ForLeads,
    NotClaimed,
    NotUnderReview,
    OpinionGiven,
    UnknownLoanRequest,
    WhyNeeded,
)
from loans.domain.loan_request.state import Application, Claim, LoanRequest, Status
from loans.domain.policy import PolicyInForce


def claim(command: ClaimRequest, state: LoanRequest, in_force: PolicyInForce) -> list[LoanEvent]:
    """Claim a request; go on with one's own once half of the time, or more, is over."""
    check_may_act(command.by, command.issued_at, state, as_lead=command.as_lead)
    if command.as_next and state.vote_of(command.by) is not None:
        raise OpinionGiven
    lease = in_force.policy.lease
    until = command.issued_at + lease
    held = state.held_at(command.issued_at)
    if held is None:
        return [
            RequestClaimed(id=command.id, occurred_at=command.issued_at, by=command.by, until=until)
        ]
    if held.until - command.issued_at > lease / 2:
        return []
    return [ClaimExtended(id=command.id, occurred_at=command.issued_at, by=command.by, until=until)]


def release(command: ReleaseRequest, state: LoanRequest) -> list[LoanEvent]:
    """Let go of a request; nothing for whoever does not hold it."""
    if state.application is None:
        raise UnknownLoanRequest
    held = state.held_at(command.issued_at)
    if held is None or held.by != command.by:
        return []
    return [RequestReleased(id=command.id, occurred_at=command.issued_at, by=command.by)]


def hand_over(command: HandOver, state: LoanRequest, in_force: PolicyInForce) -> list[LoanEvent]:
    """Give a request to somebody; nothing if they hold it already."""
    under_review(state)
    held = state.held_at(command.issued_at)
    if command.to == (held.by if held else command.by):
        return []
    if held is None and not command.as_lead:
        raise NotClaimed
    if held is not None and held.by != command.by:
        _check_may_take(held, command)
    if state.is_escalated and not command.to_lead:
        raise ForLeads
    return [
        RequestHandedOver(
            id=command.id,
            occurred_at=command.issued_at,
            by=command.by,
            to=command.to,
            until=command.issued_at + in_force.policy.hand_over_lease,
            why=command.why,
        )
    ]


def escalate(command: EscalateRequest, state: LoanRequest) -> list[LoanEvent]:
    """Leave a request to the leads; nothing if it was left to them."""
    under_review(state)
    if state.is_escalated:
        return []
    _check_nobody_else_holds(command.by, command.issued_at, state)
    return [
        RequestEscalated(
            id=command.id, occurred_at=command.issued_at, by=command.by, why=command.why
        )
    ]


def under_review(state: LoanRequest) -> Application:
    """What the applicant filled in, of a request that an underwriter may decide.

    Raises:
        UnknownLoanRequest, NotUnderReview, AlreadyDecided: it cannot be decided.
    """
    if state.application is None:
        raise UnknownLoanRequest
    if state.decision is not None:
        raise AlreadyDecided(state.decision)
    if state.status is not Status.UNDER_REVIEW:
        raise NotUnderReview
    return state.application


def check_may_act(by: str, at: datetime, state: LoanRequest, *, as_lead: bool) -> None:
    """Check that an underwriter may work on a request, or decide it, at a moment.

    Raises:
        UnknownLoanRequest, NotUnderReview, AlreadyDecided: it cannot be decided.
        ClaimedByAnother, ForLeads: others may.
    """
    under_review(state)
    _check_nobody_else_holds(by, at, state)
    if state.is_escalated and not as_lead:
        raise ForLeads


def _check_nobody_else_holds(by: str, at: datetime, state: LoanRequest) -> None:
    held = state.held_at(at)
    if held is not None and held.by != by:
        raise ClaimedByAnother(held)


def _check_may_take(held: Claim, command: HandOver) -> None:
    if not command.as_lead:
        raise ClaimedByAnother(held)
    if not command.why:
        raise WhyNeeded
