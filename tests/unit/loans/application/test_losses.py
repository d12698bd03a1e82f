"""Streams that an operator has deleted: what is refused, what is recorded, and who may go on."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

import pytest

from loans.adapters import codec
from loans.application import use_cases
from loans.application.idempotency import IdempotencyKey, IdempotencyKeys, KeyGone
from loans.application.losses import note_loss
from loans.application.policies import Policies
from loans.application.use_cases import Answer
from loans.domain.commands import ApproveLoan, RequestLoan
from loans.domain.events import LoanRequestBack, LoanRequestGone
from loans.domain.loan_request import LoanRequestIsGone
from loans.domain.reservation import OpenRequestExists, ReservationIsGone
from tests.support.fakes import FakeCreditBureau, FakeEventStore, reservations_in

NOW: Final = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)
ANN: Final = "123456aa"
FIRST, SECOND = (UUID(int=number) for number in (1, 2))


@pytest.fixture
def store() -> FakeEventStore:
    return FakeEventStore()


def request(store: FakeEventStore, loan_request_id: UUID, *, score: int | None = 5) -> Answer:
    command = RequestLoan(
        id=loan_request_id, issued_at=NOW, name="Ann", national_id=ANN, amount=5000
    )
    return use_cases.request_loan(
        command,
        event_store=store,
        policies=Policies(store),
        credit_bureau=FakeCreditBureau(score),
        reservations=reservations_in(store),
    )


def lose(store: FakeEventStore, loan_request_id: UUID) -> None:
    store.gone.add(codec.stream_name(loan_request_id))


def noted(store: FakeEventStore, loan_request_id: UUID) -> list[type]:
    return [type(each) for each in store.load(codec.loss_stream(loan_request_id)).events]


ASKS: Final[dict[str, Callable[[FakeEventStore], object]]] = {
    "applying again": lambda store: request(store, FIRST),
    "approving": lambda store: use_cases.approve_loan(
        ApproveLoan(id=FIRST, issued_at=NOW, decided_by="uma"),
        event_store=store,
        policies=Policies(store),
    ),
    "looking": lambda store: use_cases.under_review(FIRST, now=NOW, event_store=store),
    "checking": lambda store: use_cases.check_credit(
        FIRST,
        clock=lambda: NOW,
        event_store=store,
        credit_bureau=FakeCreditBureau(),
        policies=Policies(store),
    ),
    "parking": lambda store: use_cases.park_credit_check(
        FIRST, reason="timed out", attempts=25, now=NOW, event_store=store
    ),
    "releasing": lambda store: use_cases.release_reservation(
        FIRST, now=NOW, event_store=store, reservations=reservations_in(store)
    ),
}


@pytest.mark.parametrize("ask", ASKS.values(), ids=ASKS)
@pytest.mark.parametrize("score", [None, 1, 5, 9])
def test_whatever_is_asked_of_a_request_that_is_gone_is_refused_and_that_is_noted_once(
    store: FakeEventStore, score: int | None, ask: Callable[[FakeEventStore], object]
) -> None:
    request(store, FIRST, score=score)
    lose(store, FIRST)
    for _ in range(2):
        with pytest.raises(LoanRequestIsGone, match="applicant may apply again"):
            ask(store)
    assert noted(store, FIRST) == [LoanRequestGone]


def test_its_applicant_may_apply_again_at_once(store: FakeEventStore) -> None:
    request(store, FIRST)
    lose(store, FIRST)
    assert request(store, SECOND).is_new


def test_the_refusal_is_the_same_where_that_cannot_be_noted(store: FakeEventStore) -> None:
    request(store, FIRST)
    lose(store, FIRST)
    store.gone.add(codec.loss_stream(FIRST).name)
    with pytest.raises(LoanRequestIsGone):
        ASKS["approving"](store)


def test_what_is_there_again_is_noted_too(store: FakeEventStore) -> None:
    request(store, FIRST)
    for minute, is_gone in enumerate([False, True, True, False, True]):
        store.gone = {codec.stream_name(FIRST)} if is_gone else set()
        now = NOW + timedelta(minutes=minute)
        assert note_loss(FIRST, event_store=store, now=now) is is_gone
    assert noted(store, FIRST) == [LoanRequestGone, LoanRequestBack, LoanRequestGone]


class TestAReservationThatIsGone:
    @pytest.fixture(autouse=True)
    def _lost(self, store: FakeEventStore) -> None:
        request(store, FIRST)
        stream = reservations_in(store).stream_of(ANN)
        self.last = store.load(stream).events[-1]
        store.gone.add(stream.name)

    def restore(self, store: FakeEventStore) -> None:
        reservations = reservations_in(store)
        reservations.restore(reservations.stream_of(ANN), self.last)

    def test_lets_nobody_apply_who_may_have_an_open_request(self, store: FakeEventStore) -> None:
        with pytest.raises(ReservationIsGone, match="contact us"):
            request(store, SECOND)
        assert store.events_of(SECOND) == []

    def test_counts_as_before_once_it_is_restored(self, store: FakeEventStore) -> None:
        self.restore(store)
        with pytest.raises(OpenRequestExists):
            request(store, SECOND)
        ASKS["approving"](store)
        assert request(store, SECOND).is_new

    def test_is_restored_once(self, store: FakeEventStore) -> None:
        self.restore(store)
        ASKS["approving"](store)
        request(store, SECOND)
        self.restore(store)
        with pytest.raises(OpenRequestExists):
            request(store, UUID(int=3))

    def test_is_released_where_it_has_gone_on(self, store: FakeEventStore) -> None:
        self.restore(store)
        ASKS["approving"](store)
        ASKS["releasing"](store)
        ASKS["releasing"](store)
        assert request(store, SECOND).is_new


def test_a_key_whose_record_is_gone_cannot_be_used(store: FakeEventStore) -> None:
    keys = IdempotencyKeys(store, secret=b"a secret")
    key = IdempotencyKey("uma", "a key")
    keys.use(key, "POST", loan_request_id=FIRST, now=NOW)
    store.gone.add(keys.stream_of(key).name)
    with pytest.raises(KeyGone):
        keys.use(key, "POST", loan_request_id=FIRST, now=NOW)
