"""The decider. Tests are grouped by the state before the command."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st

from loans.domain.commands import (
    ApproveLoan,
    DenyLoan,
    LapseApplication,
    LoanCommand,
    ParkCreditCheck,
    RecordCreditScore,
    RequestLoan,
)
from loans.domain.credit_report import CreditReport
from loans.domain.events import (
    ApplicationLapsed,
    AutoApproved,
    AutoDenied,
    CreditChecked,
    CreditCheckParked,
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
from loans.domain.policy import VERSION_0
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
    requested_at=MONDAY,
)
PARKED = CreditCheckParked(id=ID, occurred_at=TUESDAY, reason="timed out", attempts=24)
LAPSED = ApplicationLapsed(id=ID, occurred_at=MONDAY)
APPROVED_BY_UMA = ManuallyApproved(id=ID, occurred_at=TUESDAY, decided_by="uma")
DENIED_BY_UMA = ManuallyDenied(
    id=ID, occurred_at=TUESDAY, decided_by="uma", reasons=("too_much_debt",), note="Three loans."
)


def checked(score: int) -> CreditChecked:
    return CreditChecked(id=ID, occurred_at=MONDAY, credit_score=score)


def request_loan(score: int | None = 5, **changes: Any) -> RequestLoan:
    report = None if score is None else CreditReport(score=score)
    fields = {"id": ID, "issued_at": MONDAY, "credit_report": report, **APPLICATION, **changes}
    return RequestLoan(**fields)


def record_score(score: int = 5, *, at: datetime = MONDAY) -> RecordCreditScore:
    return RecordCreditScore(id=ID, issued_at=at, credit_report=CreditReport(score=score))


def park(reason: str = "timed out") -> ParkCreditCheck:
    return ParkCreditCheck(id=ID, issued_at=TUESDAY, reason=reason, attempts=24)


def lapse(revision: int | None = None) -> LapseApplication:
    return LapseApplication(id=ID, issued_at=MONDAY, revision=revision)


def approve(by: str = "uma", **changes: Any) -> ApproveLoan:
    return ApproveLoan(**{"id": ID, "issued_at": TUESDAY, "decided_by": by, **changes})


def deny(by: str = "uma", **changes: Any) -> DenyLoan:
    fields = {"reasons": ("too_much_debt",), "note": "Three loans.", **changes}
    return DenyLoan(id=ID, issued_at=TUESDAY, decided_by=by, **fields)


class TestNotRequestedYet:
    @pytest.mark.parametrize("score", [7, 8, 10])
    def test_a_score_from_7_up_approves(self, score: int) -> None:
        given().when(request_loan(score)).then(REQUESTED, checked(score), APPROVED)

    @pytest.mark.parametrize("score", [1, 3, 4])
    def test_a_score_from_4_down_denies(self, score: int) -> None:
        given().when(request_loan(score)).then(REQUESTED, checked(score), DENIED)

    @pytest.mark.parametrize("score", [5, 6])
    def test_scores_of_5_and_6_need_an_underwriter(self, score: int) -> None:
        for_review = TO_REVIEW.model_copy(update={"credit_score": score})
        given().when(request_loan(score)).then(REQUESTED, checked(score), for_review)

    def test_without_a_score_the_request_is_only_recorded(self) -> None:
        given().when(request_loan(None)).then(REQUESTED)

    @pytest.mark.parametrize("command", [approve(), deny(), record_score(), park()])
    def test_there_is_nothing_to_decide(self, command: LoanCommand) -> None:
        given().when(command).then_rejected(UnknownLoanRequest)

    def test_an_application_that_is_never_recorded_lapses(self) -> None:
        given().when(lapse()).then(LAPSED)

    def test_a_lapsed_application_can_still_be_made(self) -> None:
        given(LAPSED).when(request_loan(9)).then(REQUESTED, checked(9), APPROVED)


class TestReceived:
    @pytest.mark.parametrize(
        ("score", "outcome"), [(1, DENIED), (4, DENIED), (5, TO_REVIEW), (7, APPROVED)]
    )
    def test_a_later_score_has_the_same_outcome(self, score: int, outcome: LoanEvent) -> None:
        given(REQUESTED).when(record_score(score)).then(checked(score), outcome)

    def test_a_check_is_parked_and_says_why(self) -> None:
        given(REQUESTED).when(park()).then(PARKED)

    def test_a_check_is_parked_for_the_same_reason_once(self) -> None:
        given(REQUESTED, PARKED).when(park()).then_nothing()

    def test_a_check_that_fails_for_another_reason_is_parked_again(self) -> None:
        reason = {"reason": "answered 500"}
        given(REQUESTED, PARKED).when(park("answered 500")).then(PARKED.model_copy(update=reason))

    def test_a_parked_check_can_be_made_after_all(self) -> None:
        given(REQUESTED, PARKED).when(record_score(9)).then(checked(9), APPROVED)

    def test_a_recorded_request_does_not_lapse(self) -> None:
        given(REQUESTED).when(lapse()).then_nothing()

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

    @pytest.mark.parametrize("command", [record_score(9, at=TUESDAY), park()])
    def test_a_request_is_scored_once(self, command: LoanCommand) -> None:
        given(*self.EVENTS).when(command).then_nothing()

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

    def test_the_same_denial_again_is_the_same_denial(self) -> None:
        given(REQUESTED, checked(6), TO_REVIEW, DENIED_BY_UMA).when(deny()).then_nothing()


REASONS = [("too_much_debt",), ("other", "income_too_low")]
commands = st.one_of(
    st.builds(request_loan, st.one_of(st.none(), st.integers(1, 10)), amount=st.integers(1, 3)),
    st.builds(record_score, st.integers(1, 10)),
    st.builds(park, st.sampled_from(["timed out", "answered 500"])),
    st.builds(approve, st.sampled_from(["uma", "vic"]), note=st.sampled_from(["", "Fine."])),
    st.builds(
        deny,
        st.sampled_from(["uma", "vic"]),
        reasons=st.sampled_from(REASONS),
    ),
)
DECISIONS = (AutoApproved, AutoDenied, ManuallyApproved, ManuallyDenied)
EVERY_EVENT = (
    REQUESTED,
    checked(5),
    PARKED,
    APPROVED,
    DENIED,
    TO_REVIEW,
    APPROVED_BY_UMA,
    DENIED_BY_UMA,
    LAPSED,
)


def carried_out(sequence: Sequence[LoanCommand]) -> list[LoanEvent]:
    """The events that a sequence of commands causes."""
    events: list[LoanEvent] = []
    for command in sequence:
        try:
            events += decide(command, fold(events), VERSION_0)
        except Rejection:
            continue
    return events


@for_all(st.lists(commands, max_size=12))
def test_any_commands_cause_at_most_one_decision(
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
def test_sending_every_command_twice_causes_the_same_events_as_once(
    sequence: list[LoanCommand],
) -> None:
    twice = [command for command in sequence for _ in range(2)]
    assert carried_out(twice) == carried_out(sequence)


@for_all(st.lists(st.sampled_from(EVERY_EVENT), max_size=10))
def test_no_event_is_ever_refused(events: list[LoanEvent]) -> None:
    state = INITIAL
    for event in events:
        state = evolve(state, event)
    assert state == fold(events)


@for_all(st.integers(1, 10))
def test_every_score_has_an_outcome(score: int) -> None:
    status = fold(decide(request_loan(score), INITIAL, VERSION_0)).status
    expected = (
        Status.APPROVED if score >= 7 else Status.DENIED if score <= 4 else Status.UNDER_REVIEW
    )
    assert status is expected
