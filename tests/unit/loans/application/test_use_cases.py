"""The use cases, with fakes of the event store and the credit bureau."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from loans.adapters.codec import loan_request_stream
from loans.adapters.credit_bureau import CreditBureauUnavailable
from loans.adapters.event_store import EventStoreUnavailable, StaleRevision
from loans.application.handling import ATTEMPTS
from loans.application.policies import Policies
from loans.application.use_cases import (
    Answer,
    approve_loan,
    check_credit,
    deny_loan,
    park_credit_check,
    request_loan,
)
from loans.domain.commands import ApproveLoan, DenyLoan, RequestLoan
from loans.domain.events import LoanRequested
from loans.domain.loan_request import (
    AlreadyDecided,
    IdAlreadyUsed,
    OutOfDate,
    Status,
    UnknownLoanRequest,
)
from tests.support.fakes import FakeCreditBureau, FakeEventStore, reservations_in

NOW = datetime(2026, 11, 23, tzinfo=UTC)
LATER = NOW + timedelta(minutes=5)


class Desk:
    """The use cases on fakes, called as the views do."""

    def __init__(self, score: int | None = 5) -> None:
        self.store = FakeEventStore()
        self.bureau = FakeCreditBureau(score)

    def request(
        self, loan_request_id: UUID | None = None, *, is_new_id: bool = False, **changes: Any
    ) -> Answer:
        fields = {"name": "Ann Example", "national_id": "123456aa", "amount": 5000, **changes}
        command = RequestLoan(id=loan_request_id or uuid4(), issued_at=NOW, **fields)
        return request_loan(
            command,
            event_store=self.store,
            policies=Policies(self.store),
            credit_bureau=self.bureau,
            # In a store of their own, so that one applicant may have several requests.
            reservations=reservations_in(FakeEventStore()),
            is_new_id=is_new_id,
        )

    def check_credit(self, loan_request_id: UUID) -> Answer | None:
        return check_credit(
            loan_request_id,
            clock=lambda: LATER,
            event_store=self.store,
            credit_bureau=self.bureau,
            policies=Policies(self.store),
        )

    def park(self, loan_request_id: UUID, reason: str = "timed out", *, at: datetime) -> Answer:
        return park_credit_check(
            loan_request_id, reason=reason, attempts=24, now=at, event_store=self.store
        )

    def approve(
        self, loan_request_id: UUID, by: str = "uma", *, shown: int | None = None
    ) -> Answer:
        command = ApproveLoan(
            id=loan_request_id, issued_at=NOW, decided_by=by, shown_revision=shown
        )
        return approve_loan(command, event_store=self.store, policies=Policies(self.store))

    def deny(self, loan_request_id: UUID, by: str = "uma") -> Answer:
        command = DenyLoan.model_validate(
            {"id": loan_request_id, "issued_at": NOW, "decided_by": by, "reasons": ["other"]}
        )
        return deny_loan(command, event_store=self.store, policies=Policies(self.store))


@pytest.mark.parametrize(
    ("score", "status"),
    [(4, Status.DENIED), (5, Status.UNDER_REVIEW), (6, Status.UNDER_REVIEW), (7, Status.APPROVED)],
)
def test_the_credit_bureaus_score_decides(score: int, status: Status) -> None:
    assert Desk(score).request().status is status


def test_the_credit_bureau_is_asked_with_the_requests_id_as_key() -> None:
    desk, loan_request_id = Desk(), uuid4()
    desk.request(loan_request_id)
    assert desk.bureau.keys == [loan_request_id]


def test_a_request_sent_again_is_answered_as_the_first_time_and_not_scored_again() -> None:
    desk, loan_request_id = Desk(), uuid4()
    first, again = desk.request(loan_request_id), desk.request(loan_request_id)
    assert again == first
    assert len(desk.bureau.keys) == 1
    assert len(desk.store.event_ids) == 3


def test_what_is_recorded_with_a_new_id_is_not_looked_for() -> None:
    desk, loan_request_id = Desk(), uuid4()
    desk.store.gone.add(loan_request_stream(loan_request_id).name)  # So reading would fail.
    desk.store.before_append.append(desk.store.gone.clear)
    answer = desk.request(loan_request_id, is_new_id=True)
    assert (answer.status, answer.revision) == (Status.UNDER_REVIEW, 2)


def test_another_application_with_the_same_id_is_refused_and_not_scored() -> None:
    desk, loan_request_id = Desk(), uuid4()
    desk.request(loan_request_id)
    with pytest.raises(IdAlreadyUsed):
        desk.request(loan_request_id, amount=1)
    assert len(desk.bureau.keys) == 1


def test_two_requests_with_one_id_at_the_same_moment_are_one_request() -> None:
    desk, loan_request_id = Desk(), uuid4()
    desk.store.before_append.append(lambda: desk.request(loan_request_id))
    assert desk.request(loan_request_id).status is Status.UNDER_REVIEW
    assert len(desk.store.events_of(loan_request_id)) == 3


def test_a_request_sent_again_is_answered_as_the_first_time_though_it_was_decided_since() -> None:
    desk, loan_request_id = Desk(), uuid4()
    first = desk.request(loan_request_id)
    desk.approve(loan_request_id)
    assert desk.request(loan_request_id) == first


def test_without_a_score_the_request_is_accepted_all_the_same() -> None:
    desk, loan_request_id = Desk(score=None), uuid4()
    assert desk.request(loan_request_id).status is Status.RECEIVED
    assert [type(each) for each in desk.store.events_of(loan_request_id)] == [LoanRequested]


def test_the_score_is_asked_for_later_with_the_same_key_and_decides() -> None:
    desk, loan_request_id = Desk(score=None), uuid4()
    desk.request(loan_request_id)
    desk.bureau.answer = 9

    checked = desk.check_credit(loan_request_id)

    assert checked is not None
    assert (checked.status, checked.revision) == (Status.APPROVED, 2)
    assert desk.store.events_of(loan_request_id)[-1].occurred_at == LATER
    assert desk.bureau.keys == [loan_request_id] * 2


def test_a_request_without_a_score_sent_again_is_answered_as_the_first_time() -> None:
    desk, loan_request_id = Desk(score=None), uuid4()
    first = desk.request(loan_request_id)
    desk.bureau.answer = 9
    desk.check_credit(loan_request_id)
    assert desk.request(loan_request_id) == first


def test_a_request_that_is_scored_or_unknown_is_not_checked() -> None:
    desk = Desk()
    assert desk.check_credit(desk.request().loan_request_id) is None
    assert desk.check_credit(uuid4()) is None
    assert len(desk.bureau.keys) == 1


def test_a_check_without_an_answer_records_nothing() -> None:
    desk = Desk(score=None)
    loan_request_id = desk.request().loan_request_id
    with pytest.raises(CreditBureauUnavailable):
        desk.check_credit(loan_request_id)
    assert len(desk.store.events_of(loan_request_id)) == 1


def test_two_checks_at_the_same_moment_make_one_decision() -> None:
    desk = Desk(score=None)
    loan_request_id = desk.request().loan_request_id
    desk.bureau.answer = 5
    desk.store.before_append.append(lambda: desk.check_credit(loan_request_id))
    desk.check_credit(loan_request_id)
    assert len(desk.store.events_of(loan_request_id)) == 3


def test_two_checks_with_different_scores_make_one_decision() -> None:
    desk = Desk(score=None)
    loan_request_id = desk.request().loan_request_id

    def another_is_quicker() -> None:
        desk.bureau.answer = 1
        desk.check_credit(loan_request_id)

    desk.bureau.answer = 9
    desk.store.before_append.append(another_is_quicker)
    answer = desk.check_credit(loan_request_id)
    assert answer is not None
    assert answer.status is Status.DENIED
    assert len(desk.store.events_of(loan_request_id)) == 3


def test_a_parked_check_is_recorded_once_and_can_still_be_made() -> None:
    desk = Desk(score=None)
    loan_request_id = desk.request().loan_request_id
    for seconds in (0, 1):
        desk.park(loan_request_id, at=NOW + timedelta(seconds=seconds))
    assert len(desk.store.events_of(loan_request_id)) == 2
    assert desk.park(loan_request_id, "answered 500", at=LATER).state.parked == "answered 500"
    desk.bureau.answer = 5
    checked = desk.check_credit(loan_request_id)
    assert checked is not None
    assert (checked.status, checked.state.parked) == (Status.UNDER_REVIEW, None)


def test_a_scored_request_is_not_parked() -> None:
    desk = Desk()
    loan_request_id = desk.request().loan_request_id
    assert desk.park(loan_request_id, at=NOW).status is Status.UNDER_REVIEW
    assert len(desk.store.events_of(loan_request_id)) == 3


def test_an_event_store_that_is_down_is_an_error() -> None:
    desk = Desk()
    desk.store.is_away = True
    with pytest.raises(EventStoreUnavailable):
        desk.request()


def test_an_underwriter_decides() -> None:
    desk = Desk()
    first, second = desk.request(), desk.request()
    assert desk.approve(first.loan_request_id).status is Status.APPROVED
    assert desk.deny(second.loan_request_id).status is Status.DENIED


def test_a_double_click_is_one_decision_and_the_same_answer() -> None:
    desk = Desk()
    loan_request_id = desk.request().loan_request_id
    assert desk.approve(loan_request_id) == desk.approve(loan_request_id)
    assert len(desk.store.events_of(loan_request_id)) == 4


def test_two_underwriters_at_the_same_moment_make_one_decision() -> None:
    desk = Desk()
    loan_request_id = desk.request().loan_request_id
    desk.store.before_append.append(lambda: desk.deny(loan_request_id, by="vic"))
    with pytest.raises(AlreadyDecided, match="Already denied by vic on 23 November 2026"):
        desk.approve(loan_request_id, by="uma")
    assert len(desk.store.events_of(loan_request_id)) == 4


def test_a_decision_on_the_current_revision_is_made() -> None:
    desk = Desk()
    shown = desk.request()
    answer = desk.approve(shown.loan_request_id, shown=shown.revision)
    assert (answer.status, answer.revision) == (Status.APPROVED, shown.revision + 1)


def test_a_decision_on_an_old_revision_is_refused() -> None:
    desk = Desk()
    shown = desk.request()
    with pytest.raises(OutOfDate):
        desk.approve(shown.loan_request_id, shown=shown.revision - 1)
    assert len(desk.store.events_of(shown.loan_request_id)) == 3


def test_a_double_click_on_the_shown_revision_is_one_decision() -> None:
    desk = Desk()
    shown = desk.request()
    first, again = (desk.approve(shown.loan_request_id, shown=shown.revision) for _ in range(2))
    assert again == first


def test_already_decided_comes_before_out_of_date() -> None:
    desk = Desk()
    shown = desk.request()
    desk.deny(shown.loan_request_id, by="vic")
    with pytest.raises(AlreadyDecided):
        desk.approve(shown.loan_request_id, shown=shown.revision)


def test_an_unknown_request_cannot_be_decided() -> None:
    with pytest.raises(UnknownLoanRequest):
        Desk().approve(uuid4())


def test_an_append_that_is_stale_every_time_is_given_up() -> None:
    desk = Desk()
    loan_request_id = desk.request().loan_request_id

    def others_are_quicker() -> None:
        raise StaleRevision

    desk.store.before_append.extend([others_are_quicker] * ATTEMPTS)
    with pytest.raises(StaleRevision):
        desk.approve(loan_request_id)
    assert desk.store.before_append == []
