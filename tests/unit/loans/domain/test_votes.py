"""Four eyes: an outcome needs enough different people, by the newest opinion of each."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from loans.domain.commands import ApproveLoan, DenyLoan, LoanCommand
from loans.domain.events import (
    ApprovalProposed,
    CreditChecked,
    DenialProposed,
    LoanEvent,
    LoanRequested,
    ManuallyApproved,
    ManuallyDenied,
    ManualReviewRequired,
)
from loans.domain.loan_request import (
    AlreadyDecided,
    ReasonNotExplained,
    ReasonNotInPolicy,
    fold,
)
from loans.domain.policy import Reason
from tests.support.given import Given, given
from tests.support.made_up_policies import EXPLAINED, limited_to, version

ID = UUID("00000000-0000-4000-8000-000000000001")
AT = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)
LIMITED = limited_to(10_000, number=3)


def under_review(amount: int) -> list[LoanEvent]:
    known: dict[str, Any] = {"name": "Ann", "national_id": "123456aa", "amount": amount}
    return [
        LoanRequested(id=ID, occurred_at=AT, **known),
        CreditChecked(id=ID, occurred_at=AT, credit_score=5),
        ManualReviewRequired(id=ID, occurred_at=AT, requested_at=AT, credit_score=5, **known),
    ]


def asked_for(amount: int, *votes: LoanEvent) -> Given:
    return given(*under_review(amount), *votes).under(LIMITED)


def approve(by: str, **fields: Any) -> ApproveLoan:
    return ApproveLoan(id=ID, issued_at=AT, decided_by=by, **fields)


def deny(by: str, *reasons: str, **fields: Any) -> DenyLoan:
    given_reasons = reasons or ("too_much_debt",)
    return DenyLoan(id=ID, issued_at=AT, decided_by=by, reasons=given_reasons, **fields)


def is_for(by: str, note: str = "") -> ApprovalProposed:
    return ApprovalProposed(id=ID, occurred_at=AT, by=by, note=note, policy=3)


def is_against(by: str, *reasons: str) -> DenialProposed:
    given_reasons = reasons or ("too_much_debt",)
    return DenialProposed(id=ID, occurred_at=AT, by=by, reasons=given_reasons, policy=3)


def approved(by: str, *together_with: str, policy: int = 3) -> ManuallyApproved:
    return ManuallyApproved(
        id=ID, occurred_at=AT, decided_by=by, together_with=together_with, policy=policy
    )


def denied(by: str, *together_with: str, policy: int = 3) -> ManuallyDenied:
    return ManuallyDenied(
        id=ID,
        occurred_at=AT,
        decided_by=by,
        reasons=("too_much_debt",),
        together_with=together_with,
        policy=policy,
    )


class TestUpToTheLimit:
    def test_one_person_approves(self) -> None:
        asked_for(10_000).when(approve("uma")).then(approved("uma"))

    def test_one_person_denies(self) -> None:
        asked_for(10_000).when(deny("uma")).then(denied("uma"))


class TestAboveTheLimit:
    def test_the_first_approval_is_a_proposal(self) -> None:
        asked_for(20_000).when(approve("uma", note="Fine.")).then(is_for("uma", "Fine."))

    def test_a_pound_above_it_is_above_it(self) -> None:
        asked_for(10_001).when(approve("uma")).then(is_for("uma"))

    def test_a_denial_takes_one_person(self) -> None:
        asked_for(20_000).when(deny("uma")).then(denied("uma"))


class TestOneIsForIt:
    ONE = asked_for(20_000, is_for("uma"))

    @pytest.mark.parametrize("again", [approve("uma"), approve("uma", note="Once more.")])
    def test_the_same_person_says_nothing_new(self, again: LoanCommand) -> None:
        self.ONE.when(again).then_nothing()

    def test_the_same_person_is_enough_where_the_policy_has_changed(self) -> None:
        change = limited_to(20_000, number=4)
        self.ONE.under(change).when(approve("uma")).then(approved("uma", policy=4))

    def test_a_second_person_approves_together_with_the_first(self) -> None:
        self.ONE.when(approve("ursula")).then(approved("ursula", "uma"))

    def test_a_second_person_who_is_against_it_is_one_opinion(self) -> None:
        self.ONE.when(deny("ursula")).then(is_against("ursula"))

    def test_the_first_person_may_deny_it_after_all(self) -> None:
        self.ONE.when(deny("uma")).then(denied("uma"))

    def test_a_lower_limit_makes_no_difference(self) -> None:
        change = limited_to(1, number=4)
        self.ONE.under(change).when(approve("ursula")).then(approved("ursula", "uma", policy=4))

    def test_what_was_approved_by_one_under_another_limit_stays_approved(self) -> None:
        events = [*under_review(20_000), approved("uma", policy=2)]
        given(*events).under(LIMITED).when(approve("ursula")).then_rejected(AlreadyDecided)


class TestTheyDisagree:
    BOTH = asked_for(20_000, is_for("uma"), is_against("ursula"))

    def test_a_third_person_approves_together_with_who_is_for_it(self) -> None:
        self.BOTH.when(approve("ulf")).then(approved("ulf", "uma"))

    def test_a_third_person_denies_together_with_who_is_against_it(self) -> None:
        self.BOTH.when(deny("ulf")).then(denied("ulf", "ursula"))

    def test_who_was_for_it_is_persuaded(self) -> None:
        self.BOTH.when(deny("uma")).then(denied("uma", "ursula"))

    def test_who_was_against_it_is_persuaded(self) -> None:
        self.BOTH.when(approve("ursula")).then(approved("ursula", "uma"))

    def test_who_is_against_it_says_nothing_new(self) -> None:
        self.BOTH.when(deny("ursula")).then_nothing()

    def test_who_is_against_it_may_have_other_reasons(self) -> None:
        self.BOTH.when(deny("ursula", "income_too_low")).then(
            is_against("ursula", "income_too_low")
        )

    def test_the_newest_opinion_counts(self) -> None:
        changed = asked_for(20_000, is_for("uma"), is_against("ursula"), is_for("vic"))
        changed.when(deny("ulf")).then(denied("ulf", "ursula"))

    def test_whose_opinion_is_awaited(self) -> None:
        assert fold(under_review(20_000)).awaiting is None
        assert fold([*under_review(20_000), is_for("uma")]).awaiting == "second opinion"
        assert fold(self.BOTH.events).awaiting == "third opinion"
        assert fold([*self.BOTH.events, approved("ulf", "uma")]).awaiting is None


class TestDecidedByTwo:
    BY_TWO = asked_for(20_000, is_for("uma"), approved("ursula", "uma"))

    def test_the_second_person_may_say_it_again(self) -> None:
        self.BY_TWO.when(approve("ursula")).then_nothing()

    @pytest.mark.parametrize("command", [approve("uma"), deny("uma"), approve("vic")])
    def test_others_are_told_who_decided(self, command: LoanCommand) -> None:
        message = "Already approved by uma and ursula on 23 November 2026"
        self.BY_TWO.when(command).then_rejected(AlreadyDecided, message)


def test_a_person_is_a_username() -> None:
    """Who is renamed is somebody else: usernames are not to be reused or changed."""
    asked_for(20_000, is_for("uma")).when(approve("uma.jones")).then(approved("uma.jones", "uma"))


class TestReasons:
    @pytest.mark.parametrize("code", ["no_such_reason", "late_payments"])
    def test_one_that_the_policy_does_not_have_is_refused(self, code: str) -> None:
        denial = deny("uma", "too_much_debt", code)
        given(*under_review(1)).under(EXPLAINED).when(denial).then_rejected(ReasonNotInPolicy, code)

    def test_one_that_is_retired_is_refused(self) -> None:
        retired = version(reasons={"too_much_debt": Reason(staff="x", applicant="x", active=False)})
        given(*under_review(1)).under(retired).when(deny("uma")).then_rejected(ReasonNotInPolicy)

    def test_another_reason_is_put_into_words(self) -> None:
        start = given(*under_review(1)).under(EXPLAINED)
        start.when(deny("uma", "other")).then_rejected(ReasonNotExplained)
        start.when(deny("uma", "other", reason_text="You have moved away.")).then(
            ManuallyDenied(
                id=ID,
                occurred_at=AT,
                decided_by="uma",
                reasons=("other",),
                reason_text="You have moved away.",
                policy=1,
            )
        )

    def test_before_there_was_a_policy_it_was_not(self) -> None:
        given(*under_review(1)).when(deny("uma", "other")).then(
            ManuallyDenied(id=ID, occurred_at=AT, decided_by="uma", reasons=("other",))
        )
