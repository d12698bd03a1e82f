"""What underwriters say of a request, and when enough of them have said it.

An outcome needs enough different people, by the newest opinion of each. To approve takes one, and
above the policy's limit two. To deny takes one, and two while somebody else is for an approval.
"""

from __future__ import annotations

from loans.domain.commands import ApproveLoan, DenyLoan
from loans.domain.events import (
    ApprovalProposed,
    DenialProposed,
    LoanEvent,
    ManuallyApproved,
    ManuallyDenied,
)
from loans.domain.loan_request.claims import check_may_act, under_review
from loans.domain.loan_request.rejections import ReasonNotExplained, ReasonNotInPolicy
from loans.domain.loan_request.state import LoanRequest, Status, Vote
from loans.domain.policy import OTHER, Policy, PolicyInForce


def approve(command: ApproveLoan, state: LoanRequest, in_force: PolicyInForce) -> list[LoanEvent]:
    """Approve a request; propose it where it takes one more person."""
    vote = Vote(command.decided_by, Status.APPROVED, note=command.note)
    if _has_decided(vote, state):
        return []
    application = under_review(state)
    others = state.others(vote.by, Status.APPROVED)
    is_enough = 1 + len(others) >= in_force.policy.needed_for_approval(application.amount)
    before = state.vote_of(vote.by)
    if not is_enough and before is not None and before.status is Status.APPROVED:
        return []
    check_may_act(vote.by, command.issued_at, state, as_lead=command.as_lead)
    if is_enough:
        return [
            ManuallyApproved(
                id=command.id,
                occurred_at=command.issued_at,
                decided_by=vote.by,
                note=vote.note,
                together_with=others,
                policy=in_force.version,
            )
        ]
    return [
        ApprovalProposed(
            id=command.id,
            occurred_at=command.issued_at,
            by=vote.by,
            note=vote.note,
            policy=in_force.version,
        )
    ]


def deny(command: DenyLoan, state: LoanRequest, in_force: PolicyInForce) -> list[LoanEvent]:
    """Deny a request; propose it where somebody else is for an approval, and nobody against."""
    vote = Vote(
        command.decided_by, Status.DENIED, command.reasons, command.reason_text, command.note
    )
    if _has_decided(vote, state):
        return []
    under_review(state)
    others = state.others(vote.by, Status.DENIED)
    is_enough = bool(others) or not state.others(vote.by, Status.APPROVED)
    if not is_enough and state.vote_of(vote.by) == vote:
        return []
    check_may_act(vote.by, command.issued_at, state, as_lead=command.as_lead)
    _check_reasons(command, in_force.policy)
    if is_enough:
        return [
            ManuallyDenied(
                id=command.id,
                occurred_at=command.issued_at,
                decided_by=vote.by,
                reasons=vote.reasons,
                reason_text=vote.reason_text,
                note=vote.note,
                together_with=others,
                policy=in_force.version,
            )
        ]
    return [
        DenialProposed(
            id=command.id,
            occurred_at=command.issued_at,
            by=vote.by,
            reasons=vote.reasons,
            reason_text=vote.reason_text,
            note=vote.note,
            policy=in_force.version,
        )
    ]


def _has_decided(vote: Vote, state: LoanRequest) -> bool:
    """Whether it is this vote that decided: the same person says the same again."""
    last = state.decision
    if last is None or last.decided_by is None:
        return False
    return vote == Vote(last.decided_by, last.status, last.reasons, last.reason_text, last.note)


def _check_reasons(command: DenyLoan, policy: Policy) -> None:
    for code in command.reasons:
        if code not in policy.reasons or not policy.reasons[code].active:
            raise ReasonNotInPolicy(code)
    if OTHER in command.reasons and not (command.reason_text or policy.deny_unexplained):
        raise ReasonNotExplained
