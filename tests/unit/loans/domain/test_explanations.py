"""Why a request stands as it does, in one sentence."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any

import pytest

from loans.domain.credit_report import CreditReport
from loans.domain.explanations import Outcome, of_decision, of_other_scores, of_review
from loans.domain.policy import Policy, PolicyInForce
from tests.support.made_up_policies import EXPLAINED, limited_to, version

APPROVED = Outcome(
    is_approval=True,
    on=date(2026, 11, 3),
    people=0,
    report=CreditReport(score=8),
    amount=5_000,
    in_force=limited_to(10_000, number=3),
)
DENIED = replace(APPROVED, is_approval=False, report=CreditReport(score=3))


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (
            APPROVED,
            (
                "Approved at once on 3 November 2026 because the score was 8 and policy 3 approves "
                "from 7."
            ),
        ),
        (
            DENIED,
            (
                "Denied at once on 3 November 2026 because the score was 3 and policy 3 denies up "
                "to 4."
            ),
        ),
        (
            replace(APPROVED, people=1),
            "Approved by an underwriter on 3 November 2026 under policy 3.",
        ),
        (
            replace(APPROVED, people=2, amount=20_000),
            (
                "Approved by two underwriters on 3 November 2026 because policy 3 asks two people "
                "above 10,000."
            ),
        ),
        (
            replace(DENIED, people=1, reasons=("You owe too much.", "You moved away.")),
            (
                "Denied by an underwriter on 3 November 2026 under policy 3, for these reasons: "
                "You owe too much. You moved away."
            ),
        ),
        (
            replace(DENIED, people=3, reasons=("You owe too much.",)),
            (
                "Denied by 3 underwriters on 3 November 2026 under policy 3, for these reasons: "
                "You owe too much."
            ),
        ),
    ],
)
def test_of_a_decision(outcome: Outcome, expected: str) -> None:
    assert of_decision(outcome) == expected


@pytest.mark.parametrize(
    ("score", "in_force", "expected"),
    [
        (5, version(2), "the score was 5 and policy 2 leaves 5 to 6 to people"),
        (5, version(2, approve_from=6), "the score was 5 and policy 2 leaves 5 to people"),
        (
            1,
            EXPLAINED,
            "the score was 1 and policy 1 denies nothing at once that cannot be explained",
        ),
        (9, limited_to(100, number=2), "policy 2 leaves amounts above 100 to people"),
    ],
)
def test_of_a_review(score: int, in_force: PolicyInForce, expected: str) -> None:
    sentence = of_review(CreditReport(score=score), 5_000, in_force)
    assert sentence == f"An underwriter looks at it because {expected}."


@pytest.mark.parametrize(
    ("changes", "amount", "expected"),
    [
        (
            {},
            5_000,
            "7 or more would have been approved at once. 4 or less would have been denied at once.",
        ),
        (
            {"approve_from": 10, "deny_up_to": 1},
            5_000,
            "10 would have been approved at once. 1 would have been denied at once.",
        ),
        (
            {"approve_from": 11, "deny_up_to": 0},
            5_000,
            "No score is enough to be approved at once. No score is denied at once.",
        ),
        (
            {"automatic_up_to": 5_000, "deny_unexplained": False},
            5_001,
            (
                "No score is enough to be approved at once above 5,000. 4 or less would have been "
                "denied at once, if what lowered it could be told."
            ),
        ),
    ],
)
def test_it_says_what_other_scores_would_have_led_to(
    changes: dict[str, Any], amount: int, expected: str
) -> None:
    assert of_other_scores(amount, Policy(**changes)) == expected
