"""The decider, grouped by the state that a command meets."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st

from loans.domain.commands import ApproveLoan, DenyLoan, LoanCommand, RequestLoan
from loans.domain.events import (
    AutoApproved,
    AutoDenied,
    CreditChecked,
    DenialReason,
    LoanEvent,
    LoanRequested,
    ManuallyApproved,
    ManuallyDenied,
    ManualReviewRequired,
)
from loans.domain.loan_request import (
    INITIAL,
    AlreadyDecided,
    IdAlreadyUsed,
    NotUnderReview,
    Rejection,
    Status,
    UnknownLoanRequest,
    decide,
    evolve,
    fold,
)
from tests.support.given import given

ID = UUID("00000000-0000-4000-8000-000000000001")
MONDAY = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)
TUESDAY = MONDAY + timedelta(days=1)
APPLICATION: dict[str, Any] = {
    "name": "Ann Example",
    "national_id": "123456aa",
    "amount": 5000,
    "address": "1 High Street",
}

REQUESTED = LoanRequested(id=ID, occurred_at=MONDAY, **APPLICATION)
APPROVED = AutoApproved(id=ID, occurred_at=MONDAY)
DENIED = AutoDenied(id=ID, occurred_at=MONDAY)
TO_REVIEW = ManualReviewRequired(
    id=ID,
    occurred_at=MONDAY,
    name="Ann Example",
    national_id="123456aa",
    amount=5000,
    credit_score=5,
)
APPROVED_BY_UMA = ManuallyApproved(id=ID, occurred_at=TUESDAY, decided_by="uma")
DENIED_BY_UMA = ManuallyDenied(
    id=ID, occurred_at=TUESDAY, decided_by="uma", reason="too_much_debt", note="Three loans."
)


def checked(score: int) -> CreditChecked:
    return CreditChecked(id=ID, occurred_at=MONDAY, credit_score=score)


def request_loan(score: int | None = 5, **changes: Any) -> RequestLoan:
    fields = {"id": ID, "issued_at": MONDAY, "credit_score": score, **APPLICATION, **changes}
    return RequestLoan(**fields)


def approve(by: str = "uma", **changes: Any) -> ApproveLoan:
    return ApproveLoan(**{"id": ID, "issued_at": TUESDAY, "decided_by": by, **changes})


def deny(by: str = "uma", **changes: Any) -> DenyLoan:
    fields = {"reason": DenialReason.TOO_MUCH_DEBT, "note": "Three loans.", **changes}
    return DenyLoan(id=ID, issued_at=TUESDAY, decided_by=by, **fields)


class TestNotRequestedYet:
    @pytest.mark.parametrize("score", [7, 8, 10])
    def test_a_score_from_7_up_approves(self, score: int) -> None:
        given().when(request_loan(score)).then(REQUESTED, checked(score), APPROVED)

    @pytest.mark.parametrize("score", [1, 3, 4])
    def test_a_score_from_4_down_denies(self, score: int) -> None:
        given().when(request_loan(score)).then(REQUESTED, checked(score), DENIED)

    @pytest.mark.parametrize("score", [5, 6])
    def test_a_score_between_is_for_an_underwriter(self, score: int) -> None:
        for_review = TO_REVIEW.model_copy(update={"credit_score": score})
        given().when(request_loan(score)).then(REQUESTED, checked(score), for_review)

    def test_without_a_score_the_request_is_only_recorded(self) -> None:
        given().when(request_loan(None)).then(REQUESTED)

    @pytest.mark.parametrize("command", [approve(), deny()])
    def test_there_is_nothing_to_decide(self, command: LoanCommand) -> None:
        given().when(command).then_rejected(UnknownLoanRequest)


class TestReceived:
    @pytest.mark.parametrize("command", [approve(), deny()])
    def test_it_cannot_be_decided_before_its_score_is_known(self, command: LoanCommand) -> None:
        given(REQUESTED).when(command).then_rejected(NotUnderReview)


class TestUnderReview:
    EVENTS = (REQUESTED, checked(5), TO_REVIEW)

    def test_an_underwriter_approves(self) -> None:
        given(*self.EVENTS).when(approve()).then(APPROVED_BY_UMA)

    def test_an_underwriter_denies_with_a_reason(self) -> None:
        given(*self.EVENTS).when(deny()).then(DENIED_BY_UMA)

    def test_the_same_request_again_is_the_same_request(self) -> None:
        given(*self.EVENTS).when(request_loan(9, issued_at=TUESDAY)).then_nothing()

    @pytest.mark.parametrize(
        "change", [{"name": "Bob Example"}, {"national_id": "123456ab"}, {"amount": 1}]
    )
    def test_another_application_cannot_take_the_id(self, change: dict[str, Any]) -> None:
        given(*self.EVENTS).when(request_loan(**change)).then_rejected(IdAlreadyUsed)


class TestDecided:
    BY_UMA = (REQUESTED, checked(5), TO_REVIEW, APPROVED_BY_UMA)
    BY_SCORE = (REQUESTED, checked(9), APPROVED)

    def test_the_same_decision_again_is_the_same_decision(self) -> None:
        given(*self.BY_UMA).when(approve(issued_at=TUESDAY + timedelta(hours=1))).then_nothing()

    @pytest.mark.parametrize(
        "command", [approve("vic"), deny("vic"), deny("uma"), approve(note="x")]
    )
    def test_any_other_decision_is_told_who_decided_and_when(self, command: LoanCommand) -> None:
        message = "Already approved by uma on 24 November 2026 at 09:30:00 UTC."
        given(*self.BY_UMA).when(command).then_rejected(AlreadyDecided, message)

    @pytest.mark.parametrize("command", [approve(), deny()])
    def test_a_decision_by_score_stands_too(self, command: LoanCommand) -> None:
        message = "Already approved by its credit score on 23 November 2026"
        given(*self.BY_SCORE).when(command).then_rejected(AlreadyDecided, message)

    def test_a_denial_can_be_replayed_and_repeated(self) -> None:
        given(REQUESTED, checked(6), TO_REVIEW, DENIED_BY_UMA).when(deny()).then_nothing()


commands = st.one_of(
    st.builds(request_loan, st.one_of(st.none(), st.integers(1, 10)), amount=st.integers(1, 3)),
    st.builds(approve, st.sampled_from(["uma", "vic"]), note=st.sampled_from(["", "Fine."])),
    st.builds(deny, st.sampled_from(["uma", "vic"]), reason=st.sampled_from(DenialReason)),
)
DECISIONS = (AutoApproved, AutoDenied, ManuallyApproved, ManuallyDenied)
EVERY_EVENT = (
    REQUESTED, checked(5), APPROVED, DENIED, TO_REVIEW, APPROVED_BY_UMA, DENIED_BY_UMA
)  # fmt: skip


def carried_out(sequence: Sequence[LoanCommand]) -> list[LoanEvent]:
    """The stream that a sequence of commands leaves."""
    events: list[LoanEvent] = []
    for command in sequence:
        try:
            events += decide(command, fold(events))
        except Rejection:
            continue
    return events


@for_all(st.lists(commands, max_size=12))
def test_whatever_is_commanded_there_is_at_most_one_decision(
    sequence: list[LoanCommand],
) -> None:
    events = carried_out(sequence)

    decisions = [event for event in events if isinstance(event, DECISIONS)]
    state = fold(events)
    assert len(decisions) <= 1
    assert (state.decision is not None) == bool(decisions)
    assert (state.status in (Status.APPROVED, Status.DENIED)) == bool(decisions)
    assert [type(event) for event in events].count(LoanRequested) <= 1


@for_all(st.lists(commands, max_size=8))
def test_every_command_sent_twice_leaves_what_sending_it_once_leaves(
    sequence: list[LoanCommand],
) -> None:
    twice = [command for command in sequence for _ in range(2)]
    assert carried_out(twice) == carried_out(sequence)


@for_all(st.lists(st.sampled_from(EVERY_EVENT), max_size=10))
def test_facts_are_never_refused(events: list[LoanEvent]) -> None:
    state = INITIAL
    for event in events:
        state = evolve(state, event)
    assert state == fold(events)


@for_all(st.integers(1, 10))
def test_every_score_leads_somewhere(score: int) -> None:
    status = fold(decide(request_loan(score), INITIAL)).status
    expected = (
        Status.APPROVED if score >= 7 else Status.DENIED if score <= 4 else Status.UNDER_REVIEW
    )
    assert status is expected
