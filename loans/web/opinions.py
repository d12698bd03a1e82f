"""What an underwriter is told who has decided, or has given an opinion that does not decide yet."""

from __future__ import annotations

from django.utils import timezone
from django.utils.text import get_text_list

from lepret.common.formats import money
from loans.application.use_cases import Answer
from loans.dependencies import policies
from loans.domain.loan_request import LoanRequest, Status


def recorded(answer: Answer, by: str) -> str:
    """What was recorded of the underwriter `by`, and who is awaited if that does not decide.

    Raises:
        PolicyUnavailable: the policy cannot be read.
    """
    state = answer.state
    assert state.application is not None, "what is decided was requested"
    if state.awaiting is None:
        return f"{state.status.capitalize()}: {state.application.name}."
    is_approval = by in _people(state, Status.APPROVED)
    opinion = f"Your {'approval' if is_approval else 'denial'} is recorded"
    about = f"{state.application.name}, {money(state.application.amount)}"
    return f"{opinion}: {about}. {_awaited(state, is_approval=is_approval)}"


def _awaited(state: LoanRequest, *, is_approval: bool) -> str:
    if state.awaiting == "third opinion":
        others = _people(state, Status.DENIED if is_approval else Status.APPROVED)
        what = "denied" if is_approval else "approved"
        return f"But {get_text_list(others, 'and')} would have it {what}: a third person decides."
    limit = policies().in_force(timezone.now()).policy.four_eyes_above
    above = "" if limit is None else f" above {money(limit)}"
    return f"It takes a second person{above}: anyone but you can give the second opinion."


def _people(state: LoanRequest, status: Status) -> list[str]:
    return [vote.by for vote in state.votes if vote.status is status]
