"""Why a request stands as it does, in one sentence: from its events, and the policy they name.

No sentence names anyone: it is for the applicant, too.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from loans.domain.credit_report import BEST_SCORE, WORST_SCORE, CreditReport
from loans.domain.policy import Policy, PolicyInForce


@dataclass(frozen=True, slots=True)
class Outcome:
    """What there is to explain. `people` is how many decided: none if the rules alone did.

    `reasons` are in words; `in_force` is the policy that the decision, or the review, names.
    """

    is_approval: bool
    on: date
    people: int
    report: CreditReport
    amount: int
    in_force: PolicyInForce
    reasons: tuple[str, ...] = ()


def of_decision(outcome: Outcome) -> str:
    """Why a request was approved or denied."""
    what = "Approved" if outcome.is_approval else "Denied"
    on = f"on {outcome.on.day} {outcome.on:%B %Y}"
    if outcome.people:
        return f"{what} by {_count(outcome.people)} {on} {_by_people(outcome)}"
    return f"{what} at once {on} because the score was {outcome.report.score} and {_rule(outcome)}."


def of_review(report: CreditReport, amount: int, in_force: PolicyInForce) -> str:
    """Why an underwriter looks at a request; `in_force` is the policy that left it to people."""
    policy, named = in_force.policy, f"policy {in_force.version}"
    because = f"An underwriter looks at it because the score was {report.score} and {named}"
    if report.score <= policy.deny_up_to:
        return f"{because} denies nothing at once that cannot be explained."
    if report.score < policy.approve_from:
        lowest, highest = policy.deny_up_to + 1, policy.approve_from - 1
        return f"{because} leaves {_range(lowest, highest)} to people."
    limit = f" above {policy.automatic_up_to:,}" if policy.automatic_up_to is not None else ""
    return f"An underwriter looks at it because {named} leaves amounts{limit} to people."


def of_other_scores(amount: int, policy: Policy) -> str:
    """Which scores would have decided at once, for this amount."""
    return f"{_approved_at_once(amount, policy)} {_denied_at_once(policy)}"


def _approved_at_once(amount: int, policy: Policy) -> str:
    if policy.automatic_up_to is not None and amount > policy.automatic_up_to:
        return f"No score is enough to be approved at once above {policy.automatic_up_to:,}."
    if policy.approve_from > BEST_SCORE:
        return "No score is enough to be approved at once."
    or_more = " or more" if policy.approve_from < BEST_SCORE else ""
    return f"{policy.approve_from}{or_more} would have been approved at once."


def _denied_at_once(policy: Policy) -> str:
    if policy.deny_up_to < WORST_SCORE:
        return "No score is denied at once."
    or_less = " or less" if policy.deny_up_to > WORST_SCORE else ""
    explained = "" if policy.deny_unexplained else ", if what lowered it could be told"
    return f"{policy.deny_up_to}{or_less} would have been denied at once{explained}."


def _rule(outcome: Outcome) -> str:
    policy, named = outcome.in_force.policy, f"policy {outcome.in_force.version}"
    if outcome.is_approval:
        return f"{named} approves from {policy.approve_from}"
    return f"{named} denies up to {policy.deny_up_to}"


def _by_people(outcome: Outcome) -> str:
    policy, named = outcome.in_force.policy, f"policy {outcome.in_force.version}"
    if outcome.reasons:
        return f"under {named}, for these reasons: {' '.join(outcome.reasons)}"
    if outcome.is_approval and policy.needed_for_approval(outcome.amount) > 1:
        assert policy.four_eyes_above is not None, "otherwise one person is enough"
        return f"because {named} asks two people above {policy.four_eyes_above:,}."
    return f"under {named}."


def _range(lowest: int, highest: int) -> str:
    return f"{lowest}" if lowest == highest else f"{lowest} to {highest}"


def _count(people: int) -> str:
    return {1: "an underwriter", 2: "two underwriters"}.get(people, f"{people} underwriters")
