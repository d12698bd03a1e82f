"""Load, decide, append: with ports that are faked and nothing else."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest

from loans.credit_bureau import CreditBureauUnavailable
from loans.domain.commands import ApproveLoan, DenyLoan, RequestLoan
from loans.domain.loan_request import AlreadyDecided, IdAlreadyUsed, Status, UnknownLoanRequest
from loans.event_store import EventStoreUnavailable, StaleRevision
from loans.use_cases import Answer, approve_loan, deny_loan, request_loan
from tests.support.fakes import FakeCreditBureau, FakeEventStore

NOW = datetime(2026, 11, 23, tzinfo=UTC)


class Desk:
    """The use cases on fakes, called as the views do."""

    def __init__(self, score: int | None = 5) -> None:
        self.store = FakeEventStore()
        self.bureau = FakeCreditBureau(score)

    def request(self, loan_request_id: UUID | None = None, **changes: Any) -> Answer:
        fields = {"name": "Ann Example", "national_id": "123456aa", "amount": 5000, **changes}
        command = RequestLoan(id=loan_request_id or uuid4(), issued_at=NOW, **fields)
        return request_loan(command, event_store=self.store, credit_bureau=self.bureau)

    def approve(self, loan_request_id: UUID, by: str = "uma") -> Answer:
        command = ApproveLoan(id=loan_request_id, issued_at=NOW, decided_by=by)
        return approve_loan(command, event_store=self.store)

    def deny(self, loan_request_id: UUID, by: str = "uma") -> Answer:
        command = DenyLoan.model_validate(
            {"id": loan_request_id, "issued_at": NOW, "decided_by": by, "reason": "other"}
        )
        return deny_loan(command, event_store=self.store)


@pytest.mark.parametrize(
    ("score", "status"),
    [(4, Status.DENIED), (5, Status.UNDER_REVIEW), (6, Status.UNDER_REVIEW), (7, Status.APPROVED)],
)
def test_the_clearing_houses_score_decides(score: int, status: Status) -> None:
    assert Desk(score).request().status is status


def test_the_clearing_house_is_asked_with_the_requests_id_as_key() -> None:
    desk, loan_request_id = Desk(), uuid4()
    desk.request(loan_request_id)
    assert desk.bureau.keys == [loan_request_id]


def test_a_request_sent_again_is_answered_as_the_first_time_and_not_scored_again() -> None:
    desk, loan_request_id = Desk(), uuid4()
    first, again = desk.request(loan_request_id), desk.request(loan_request_id)
    assert again == first
    assert len(desk.bureau.keys) == 1
    assert len(desk.store.event_ids) == 3


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
    assert len(desk.store.streams[loan_request_id]) == 3


def test_without_a_score_nothing_is_recorded() -> None:
    desk = Desk(score=None)
    with pytest.raises(CreditBureauUnavailable):
        desk.request()
    assert desk.store.streams == {}


def test_an_event_store_that_is_away_is_said_to_be() -> None:
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
    assert len(desk.store.streams[loan_request_id]) == 4


def test_two_underwriters_at_the_same_moment_make_one_decision() -> None:
    desk = Desk()
    loan_request_id = desk.request().loan_request_id
    desk.store.before_append.append(lambda: desk.deny(loan_request_id, by="vic"))
    with pytest.raises(AlreadyDecided, match="Already denied by vic on 23 November 2026"):
        desk.approve(loan_request_id, by="uma")
    assert len(desk.store.streams[loan_request_id]) == 4


def test_what_is_not_there_cannot_be_decided() -> None:
    with pytest.raises(UnknownLoanRequest):
        Desk().approve(uuid4())


def test_someone_who_is_slower_every_time_gives_up() -> None:
    desk = Desk()
    loan_request_id = desk.request().loan_request_id

    def others_are_quicker() -> None:
        raise StaleRevision

    desk.store.before_append.extend([others_are_quicker] * 5)
    with pytest.raises(StaleRevision):
        desk.approve(loan_request_id)
    assert desk.store.before_append == []
