"""Reasons and explanations, in the words of the policy that a request was decided under."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from pytest_django import DjangoAssertNumQueries

from loans.domain.policy import VERSION_0, Policy
from readmodels.models import LendingPolicy, LoanRequest, LoanStatus
from readmodels.pages.explaining import (
    Reason,
    explanation_of,
    reasons_to_applicant,
    reasons_to_staff,
)
from readmodels.policies import policy_in_force, policy_of, words_of
from tests.support.known_policies import STRICT, known
from tests.support.loans import AT

pytestmark = pytest.mark.django_db


def row(**columns: Any) -> LoanStatus:
    values = {"status": "denied", "amount": 20_000, "received_at": AT, "credit_score": 3}
    return LoanStatus(id=uuid4(), **{**values, **columns})


class TestThePolicy:
    def test_is_read_once(self, django_assert_num_queries: DjangoAssertNumQueries) -> None:
        known(3)
        with django_assert_num_queries(1):
            for _ in range(3):
                in_force = policy_of(3)
        assert in_force is not None
        assert (in_force.version, in_force.policy) == (3, STRICT)

    def test_that_there_was_first_takes_no_query(
        self, django_assert_num_queries: DjangoAssertNumQueries
    ) -> None:
        with django_assert_num_queries(0):
            assert policy_of(0) == VERSION_0

    def test_that_is_not_known_yet_is_known_when_it_comes(self) -> None:
        assert policy_of(3) is None
        assert words_of(3) == VERSION_0.policy
        known(3)
        assert words_of(3) == STRICT

    def test_in_force_is_the_highest_that_is_confirmed_and_has_begun(self) -> None:
        assert policy_in_force(AT) == VERSION_0
        known(1, Policy(deny_up_to=1))
        known(2, Policy(deny_up_to=2))
        known(3, Policy(deny_up_to=3), since=AT + timedelta(hours=1))
        proposed = known(4)
        LendingPolicy.objects.filter(version=proposed.version).update(confirmed_at=None)
        assert policy_in_force(AT).policy.deny_up_to == 2
        assert policy_in_force(AT + timedelta(hours=1)).version == 3


class TestReasons:
    def test_are_in_the_words_of_the_version_that_decided(self) -> None:
        known(3)
        told = row(reasons=["too_much_debt", "short_history"], policy=3)
        assert reasons_to_applicant(told) == [
            Reason("too_much_debt", "Your debts are too high."),
            Reason("short_history", "You have borrowed only lately."),
        ]
        assert reasons_to_staff(told) == ["Debt", "You have borrowed only lately."]
        before = row(reasons=["too_much_debt"], policy=0)
        assert reasons_to_applicant(before)[0].text == "You owe too much already."

    def test_that_are_another_one_are_told_as_they_were_typed(self) -> None:
        other = row(reasons=["other"], reason_text="We know the house.")
        assert reasons_to_applicant(other) == [Reason("other", "We know the house.")]
        assert reasons_to_staff(other) == ["Another reason", "“We know the house.”"]

    def test_of_a_version_that_is_not_known_yet_are_in_general_words(self) -> None:
        told = row(reasons=["too_much_debt", "too_young"], policy=3)
        assert [each.text for each in reasons_to_applicant(told)] == [
            "You owe too much already.",
            "Please contact us to hear why.",
        ]
        assert reasons_to_staff(told) == ["Too much debt", "too_young"]

    def test_of_a_row_of_an_older_version_of_the_program_are_the_one_that_it_has(self) -> None:
        old = row(denial_reason="too_much_debt")
        assert [each.code for each in reasons_to_applicant(old)] == ["too_much_debt"]
        assert reasons_to_applicant(row()) == []


class TestTheExplanation:
    def test_of_a_decision_that_nobody_made(self) -> None:
        known(3)
        assert explanation_of(row(decided_at=AT, policy=3, reasons=["short_history"])) == (
            "Denied at once on 23 November 2026 because the score was 3 and policy 3 denies up to "
            "4."
        )

    def test_of_a_decision_by_people_says_how_many(self) -> None:
        known(3)
        approved = {"status": "approved", "decided_at": AT, "policy": 3}
        sentence = (
            "Approved by two underwriters on 23 November 2026 because policy 3 asks two people "
            "above 10,000."
        )
        assert explanation_of(row(**approved, people=2)) == sentence
        columns = {"name": "Ann", "amount": 20_000, "requested_at": AT, "credit_score": 5}
        in_back_office = LoanRequest(
            id=uuid4(), **columns, **approved, decided_by="uma", together_with=["una"]
        )
        assert in_back_office.deciders == ["una", "uma"]
        assert explanation_of(in_back_office) == sentence

    def test_of_a_denial_by_people_has_the_reasons(self) -> None:
        denied = row(decided_at=AT, people=1, reasons=["other"], reason_text="We know the house.")
        assert explanation_of(denied) == (
            "Denied by an underwriter on 23 November 2026 under policy 0, for these reasons: "
            "We know the house."
        )

    def test_of_a_review(self) -> None:
        known(3)
        review = row(status="under_review", credit_score=9, policy=3)
        assert explanation_of(review) == (
            "An underwriter looks at it because policy 3 leaves amounts above 10,000 to people."
        )

    @pytest.mark.parametrize(
        "columns",
        [
            {"status": "received"},
            {"decided_at": AT, "policy": 3},
            {"decided_at": AT, "credit_score": None},
        ],
    )
    def test_is_missing_where_there_is_none_or_the_read_model_does_not_know(
        self, columns: dict[str, Any]
    ) -> None:
        assert explanation_of(row(**columns)) is None
