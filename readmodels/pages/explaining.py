"""Why a request stands as it does, in words: the reasons of a denial, and the explanation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.utils import timezone

from loans.domain import explanations
from loans.domain.credit_report import CreditReport
from loans.domain.explanations import Outcome
from loans.domain.policy import PolicyInForce
from readmodels.models import LoanRequest, LoanStatus, Status
from readmodels.policies import policy_of, words_of

Row = LoanStatus | LoanRequest


@dataclass(frozen=True)
class Reason:
    """A reason or a factor: its code, and what it is in words."""

    code: str
    text: str


def reasons_to_applicant(row: Row) -> list[Reason]:
    """Why a request was denied, in the words of the policy that it was denied under."""
    policy = words_of(row.policy)
    return [
        Reason(code, policy.to_applicant(code, text=row.reason_text)) for code in _codes_of(row)
    ]


def reasons_to_staff(row: Row) -> list[str]:
    """The same in words for the staff, with what the applicant was told where that was typed."""
    return in_staffs_words(_codes_of(row), policy=row.policy, text=row.reason_text)


def in_staffs_words(codes: Sequence[str], *, policy: int, text: str = "") -> list[str]:
    """Reasons or factors in the words of a version of the policy; `text` is that of *other*."""
    words = [words_of(policy).to_staff(code) for code in codes]
    return [*words, f"“{text}”"] if text else words


def explanation_of(row: Row) -> str | None:
    """Why a request was decided, or is looked at, as it is: one sentence.

    `None` where there is nothing to explain yet, and where the read model does not know why: it
    has not come to the policy, or an older version of the program has written the row.
    """
    if row.decided_at is None:
        return _review(row, row.policy) if row.status == Status.UNDER_REVIEW else None
    in_force = policy_of(row.policy)
    if in_force is None or row.credit_score is None:
        return None
    return explanations.of_decision(_outcome(row, _report(row.credit_score), in_force))


def explanation_of_review(row: LoanRequest) -> str | None:
    """Why people look, or have looked, at a request; `None` as `explanation_of`."""
    return None if row.review_policy is None else _review(row, row.review_policy)


def _review(row: Row, version: int) -> str | None:
    in_force = policy_of(version)
    if in_force is None or row.credit_score is None:
        return None
    return explanations.of_review(_report(row.credit_score), row.amount, in_force)


def _report(score: int) -> CreditReport:
    # Not validated: whatever was decided, it was decided by this score.
    return CreditReport.model_construct(score=score)


def _outcome(row: Row, report: CreditReport, in_force: PolicyInForce) -> Outcome:
    assert row.decided_at is not None, "only a decision has an outcome"
    return Outcome(
        is_approval=row.status == Status.APPROVED,
        on=timezone.localdate(row.decided_at),
        people=row.people,
        report=report,
        amount=row.amount,
        in_force=in_force,
        reasons=tuple(reason.text for reason in reasons_to_applicant(row)),
    )


def _codes_of(row: Row) -> Sequence[str]:
    """The reasons; the first alone in a row that an older version of the program has written."""
    return row.reasons or ([row.denial_reason] if row.denial_reason else [])
