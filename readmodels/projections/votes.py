"""What rows say of the underwriters' votes."""

from __future__ import annotations

from typing import TypedDict

from loans.domain.events import ApprovalProposed, DenialProposed
from readmodels.models import Status


class Vote(TypedDict):
    """What an underwriter says of a request, as the column `votes` keeps it.

    `status` is the outcome that `by` is for, and `at` a time in ISO 8601. `reasons` are codes of
    the policy's version `policy`, and empty for an approval.
    """

    by: str
    status: str
    at: str
    note: str
    reasons: list[str]
    reason_text: str
    policy: int


def with_vote(event: ApprovalProposed | DenialProposed, votes: list[Vote]) -> list[Vote]:
    """The votes with a new one, which takes the place of an earlier one of the same person."""
    return [*(vote for vote in votes if vote["by"] != event.by), _vote(event)]


def _vote(event: ApprovalProposed | DenialProposed) -> Vote:
    reasons: list[str] = []
    status, reason_text = Status.APPROVED, ""
    if isinstance(event, DenialProposed):
        status, reasons, reason_text = Status.DENIED, list(event.reasons), event.reason_text
    return Vote(
        by=event.by,
        status=status,
        at=event.occurred_at.isoformat(),
        note=event.note,
        reasons=reasons,
        reason_text=reason_text,
        policy=event.policy,
    )
