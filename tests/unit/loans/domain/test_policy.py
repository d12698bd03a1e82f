"""What a policy may be, and what it makes of a credit report."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from loans.domain.credit_report import CreditReport
from loans.domain.policy import VERSION_0, Assessment, Factor, Policy, Reason, assess
from tests.support.made_up_policies import EXPLAINED, FACTORS

REASON = {"staff": "For us", "applicant": "For you."}


@pytest.mark.parametrize(
    ("score", "expected"),
    [
        (1, Assessment.DENY),
        (4, Assessment.DENY),
        (5, Assessment.REVIEW),
        (6, Assessment.REVIEW),
        (7, Assessment.APPROVE),
        (10, Assessment.APPROVE),
    ],
)
def test_before_there_was_a_policy_the_score_decided(score: int, expected: Assessment) -> None:
    assert assess(CreditReport(score=score), 9_999_999_999, VERSION_0.policy) is expected


@pytest.mark.parametrize(
    ("factors", "expected"),
    [
        ((), Assessment.REVIEW),
        (("unheard_of",), Assessment.REVIEW),
        (("retired",), Assessment.REVIEW),
        (("unheard_of", "late_payments"), Assessment.DENY),
    ],
)
def test_nothing_is_denied_at_once_that_cannot_be_explained(
    factors: tuple[str, ...], expected: Assessment
) -> None:
    assert assess(CreditReport(score=1, factors=factors), 1, EXPLAINED.policy) is expected


@pytest.mark.parametrize(
    ("amount", "expected"), [(10_000, Assessment.APPROVE), (10_001, Assessment.REVIEW)]
)
def test_people_look_at_more_than_the_limit(amount: int, expected: Assessment) -> None:
    assert assess(CreditReport(score=10), amount, Policy(automatic_up_to=10_000)) is expected


def test_the_thresholds_are_the_lenders() -> None:
    policy = Policy(deny_up_to=0, approve_from=11)
    assert {assess(CreditReport(score=score), 1, policy) for score in range(1, 11)} == {
        Assessment.REVIEW
    }


def test_an_applicant_is_told_four_factors_at_most_and_each_once() -> None:
    codes = ("a", "b", "c", "d", "e")
    policy = Policy(factors={code: Factor(applicant=f"It is {code}.") for code in codes})
    assert policy.explaining(("a", "b", "a", "c", "d", "e")) == ("a", "b", "c", "d")


class TestWords:
    POLICY = EXPLAINED.policy

    def test_of_a_reason(self) -> None:
        assert self.POLICY.to_applicant("too_much_debt") == "You owe too much already."
        assert self.POLICY.to_staff("too_much_debt") == "Too much debt"

    def test_of_a_factor_that_is_told_no_longer_too(self) -> None:
        assert self.POLICY.to_applicant("retired") == "This is no longer told."

    def test_of_another_reason(self) -> None:
        assert self.POLICY.to_applicant("other", text="You moved away.") == "You moved away."

    def test_of_what_nobody_knows(self) -> None:
        assert self.POLICY.to_applicant("unheard_of") == "Please contact us to hear why."
        assert self.POLICY.to_staff("unheard_of") == "unheard_of"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"deny_up_to": 7}, "must be below"),
        ({"deny_up_to": 8, "approve_from": 7}, "must be below"),
        ({"deny_up_to": -1}, "deny_up_to"),
        ({"approve_from": 12}, "approve_from"),
        ({"four_eyes_above": 10_000}, "nobody would look"),
        ({"four_eyes_above": 10_000, "automatic_up_to": 10_001}, "nobody would look"),
        ({"automatic_up_to": 0}, "at least 1"),
        ({"four_eyes_above": 0, "automatic_up_to": 1}, "at least 1"),
        ({"automatic_up_to": "10000"}, "whole number"),
        ({"factors": {"other": {"applicant": "x"}}}, "not both: other"),
        ({"reasons": {"Not A Code": REASON}}, "pattern"),
        ({"reasons": {"": REASON}}, "pattern"),
        ({"reasons": {".x": REASON}}, "pattern"),
        ({"reasons": {"x": {**REASON, "applicant": ""}}}, "field is required"),
        ({"reasons": {"x": {**REASON, "staff": "x" * 501}}}, "At most 500"),
        ({"reasons": {"x": {**REASON, "staff": "a\x00b"}}}, "control characters"),
        ({"reasons": {f"code_{number}": REASON for number in range(101)}}, "at most 100"),
        ({"lease": "PT0S"}, "from a second"),
        ({"lease": "P367D"}, "366 days"),
        ({"undo_seconds": 61}, "undo_seconds"),
        ({"offer_days": 91}, "offer_days"),
        ({"law": "uk"}, "law"),
        ({"currency": "pounds"}, "currency"),
        ({"lender": {"name": "x"}}, "address"),
        ({"statement": "x" * 2_001}, "At most 2000"),
    ],
    ids=lambda each: str(each)[:40],
)
def test_what_cannot_be_a_policy_says_why(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Policy.model_validate(fields)


policies = st.builds(
    Policy,
    deny_up_to=st.integers(0, 4),
    approve_from=st.integers(5, 11),
    deny_unexplained=st.booleans(),
    automatic_up_to=st.integers(1, 10) | st.none(),
    lease=st.timedeltas(timedelta(seconds=1), timedelta(days=3)),
    reasons=st.dictionaries(
        st.from_regex("[a-z]{1,5}", fullmatch=True),
        st.builds(Reason, staff=st.just("For us"), applicant=st.just("For you.")),
        max_size=3,
    ),
    factors=st.just(FACTORS),
)


@given(policies)
def test_a_policy_is_read_as_it_was_written(policy: Policy) -> None:
    assert Policy.model_validate_json(policy.model_dump_json(), extra="forbid") == policy


@given(policies, st.integers(1, 10), st.integers(1, 20), st.sets(st.sampled_from(list(FACTORS))))
def test_a_better_score_never_has_a_worse_outcome(
    policy: Policy, score: int, amount: int, factors: set[str]
) -> None:
    order = [Assessment.DENY, Assessment.REVIEW, Assessment.APPROVE]
    worse, better = (
        order.index(assess(CreditReport(score=each, factors=tuple(factors)), amount, policy))
        for each in (max(1, score - 1), score)
    )
    assert worse <= better
