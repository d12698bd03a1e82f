"""Why a loan request stands as it does, in words, by the policies that its events name."""

from __future__ import annotations

from django.utils import timezone

from loans.dependencies import policies
from loans.domain import explanations
from loans.domain.credit_report import CreditReport
from loans.domain.loan_request import Decision, LoanRequest, Status


def explanation(state: LoanRequest) -> str | None:
    """One sentence, which names nobody; `None` as long as there is no credit score.

    Raises:
        PolicyUnavailable: the policy cannot be read.
    """
    if state.application is None or state.credit_score is None:
        return None
    report, amount = CreditReport(score=state.credit_score), state.application.amount
    if state.decision is not None:
        return explanations.of_decision(_outcome(state.decision, report, amount))
    if state.left_to_people_by is not None:
        in_force = policies().named(state.left_to_people_by)
        return explanations.of_review(report, amount, in_force)
    return None


def reasons_told(decision: Decision | None) -> dict[str, str]:
    """The codes of what was decided for, with what the applicant is told; raises as above."""
    if decision is None:
        return {}
    policy = policies().named(decision.policy).policy
    return {code: policy.to_applicant(code, text=decision.reason_text) for code in decision.reasons}


def _outcome(decision: Decision, report: CreditReport, amount: int) -> explanations.Outcome:
    return explanations.Outcome(
        is_approval=decision.status is Status.APPROVED,
        on=timezone.localdate(decision.decided_at),
        people=len(decision.people),
        report=report,
        amount=amount,
        in_force=policies().named(decision.policy),
        reasons=tuple(reasons_told(decision).values()),
    )
