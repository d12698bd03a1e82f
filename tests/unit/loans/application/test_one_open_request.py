"""At most one open request for each person, however processes interleave, pause, or die."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import chain, cycle
from typing import Final
from uuid import UUID

import pytest
import stamina
from hypothesis import given, settings
from hypothesis import strategies as st

from lepret.common.aside import Do, Work, at_once
from loans.adapters import codec
from loans.adapters.event_store import EventStore, EventStoreUnavailable, StaleRevision
from loans.application.handling import ATTEMPTS
from loans.application.policies import Policies
from loans.application.use_cases import Answer, approve_loan, release_reservation, request_loan
from loans.domain.commands import ApproveLoan, RequestLoan
from loans.domain.events import (
    AutoApproved,
    AutoDenied,
    LoanEvent,
    LoanRequested,
    ManuallyApproved,
    ManuallyDenied,
)
from loans.domain.loan_request import Rejection, Status
from loans.domain.reservation import OpenRequestExists, TakeReservation
from tests.support.fakes import FakeCreditBureau, FakeEventStore, reservations_in
from tests.support.interleaving import Actor, Killed, take_turns

NOW: Final = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)
MUCH_LATER: Final = NOW + timedelta(minutes=5)
FAR_FUTURE: Final = NOW + timedelta(days=36_500)
ANN: Final = "123456aa"
FIRST, SECOND, THIRD = (UUID(int=number) for number in (1, 2, 3))


@pytest.fixture(autouse=True, scope="module")
def _without_waiting_between_attempts() -> Iterator[None]:
    with stamina.set_testing(testing=True, attempts=ATTEMPTS):
        yield


def request(
    store: FakeEventStore,
    loan_request_id: UUID,
    *,
    score: int | None = 5,
    at: datetime = NOW,
    national_id: str = ANN,
    aside: Do = at_once,
) -> Answer:
    command = RequestLoan(
        id=loan_request_id, issued_at=at, name="Ann", national_id=national_id, amount=5000
    )
    return request_loan(
        command,
        event_store=store,
        policies=Policies(FakeEventStore()),
        credit_bureau=FakeCreditBureau(score),
        reservations=reservations_in(store, aside),
    )


def approve(store: EventStore, loan_request_id: UUID) -> Answer:
    command = ApproveLoan(id=loan_request_id, issued_at=NOW, decided_by="uma")
    return approve_loan(command, event_store=store, policies=Policies(FakeEventStore()))


def settle(store: FakeEventStore) -> float:
    reservations = reservations_in(store)
    return reservations.settle(reservations.stream_of(ANN), now=NOW)


def the_store_says(store: FakeEventStore, moment: datetime) -> None:
    store.clock = lambda: moment


def release(store: FakeEventStore, loan_request_id: UUID) -> None:
    release_reservation(
        loan_request_id, now=NOW, event_store=store, reservations=reservations_in(store)
    )


def types_in_the_reservation(store: FakeEventStore) -> list[str]:
    stream = store.load(reservations_in(store).stream_of(ANN))
    return [type(each).__name__ for each in stream.events]


@pytest.mark.parametrize("score", [5, None], ids=["under review", "not scored yet"])
def test_a_second_request_is_refused_as_long_as_the_first_is_open(score: int | None) -> None:
    store = FakeEventStore()
    request(store, FIRST, score=score)
    with pytest.raises(OpenRequestExists, match="cannot take this application now") as refused:
        request(store, SECOND)
    assert str(FIRST) not in str(refused.value)
    assert store.events_of(SECOND) == []


def test_an_answer_does_not_wait_for_the_release_of_what_it_has_decided() -> None:
    store, put_aside = FakeEventStore(), list[Work]()
    assert request(store, FIRST, score=1, aside=put_aside.append).status is Status.DENIED
    assert types_in_the_reservation(store) == ["ReservationTaken"]
    (release_it,) = put_aside
    release_it()
    assert types_in_the_reservation(store) == ["ReservationTaken", "ReservationReleased"]


def test_a_release_that_comes_late_leaves_the_next_request_its_reservation() -> None:
    store, put_aside = FakeEventStore(), list[Work]()
    request(store, FIRST, score=1, aside=put_aside.append)
    assert request(store, SECOND).status is Status.UNDER_REVIEW
    for release_it in put_aside:
        release_it()
    assert types_in_the_reservation(store)[-1] == "ReservationTaken"
    with pytest.raises(OpenRequestExists):
        request(store, THIRD)


def test_the_case_of_the_national_id_does_not_matter() -> None:
    store = FakeEventStore()
    request(store, FIRST, national_id="123456AA")
    with pytest.raises(OpenRequestExists):
        request(store, SECOND, national_id="123456aA")


def test_other_people_may_apply_meanwhile() -> None:
    store = FakeEventStore()
    request(store, FIRST)
    assert request(store, SECOND, national_id="654321bb").status is Status.UNDER_REVIEW


def test_the_credit_bureau_is_not_asked_about_a_refused_request() -> None:
    store, bureau = FakeEventStore(), FakeCreditBureau()
    request(store, FIRST)
    command = RequestLoan(id=SECOND, issued_at=NOW, name="Ann", national_id=ANN, amount=1)
    with pytest.raises(OpenRequestExists):
        request_loan(
            command,
            event_store=store,
            policies=Policies(FakeEventStore()),
            credit_bureau=bureau,
            reservations=reservations_in(store),
        )
    assert bureau.keys == []


def test_the_next_request_is_accepted_once_the_first_is_decided() -> None:
    store = FakeEventStore()
    request(store, FIRST)
    approve(store, FIRST)
    assert request(store, SECOND).status is Status.UNDER_REVIEW
    assert types_in_the_reservation(store) == [
        "ReservationTaken",
        "ReservationReleased",
        "ReservationTaken",
    ]


def test_the_reservation_of_a_decided_request_is_released() -> None:
    store = FakeEventStore()
    request(store, FIRST)
    approve(store, FIRST)
    for _ in range(2):  # a second time changes nothing
        release(store, FIRST)
    assert types_in_the_reservation(store) == ["ReservationTaken", "ReservationReleased"]


@pytest.mark.parametrize("score", [4, 9], ids=["denied", "approved"])
def test_a_request_that_is_decided_at_once_releases_its_reservation_itself(score: int) -> None:
    store = FakeEventStore()
    for each in (FIRST, SECOND):
        request(store, each, score=score)
    assert types_in_the_reservation(store) == ["ReservationTaken", "ReservationReleased"] * 2


def test_it_is_answered_also_if_that_fails_and_a_worker_does_it() -> None:
    store = FakeEventStore()

    def goes_away() -> None:
        raise EventStoreUnavailable

    store.before_append = [lambda: None, lambda: None, goes_away]
    assert request(store, FIRST, score=9).status is Status.APPROVED
    assert types_in_the_reservation(store) == ["ReservationTaken"]
    release(store, FIRST)
    assert types_in_the_reservation(store) == ["ReservationTaken", "ReservationReleased"]


def test_it_leaves_alone_what_another_request_has_taken_meanwhile() -> None:
    store = FakeEventStore()
    store.before_append = [lambda: None, lambda: None, lambda: request(store, SECOND)]
    request(store, FIRST, score=9)
    with pytest.raises(OpenRequestExists):
        request(store, THIRD)


@pytest.mark.parametrize(("ended_at", "is_released"), [(2, False), (3, True)])
def test_a_release_leaves_alone_what_was_taken_after_the_end_that_it_knows(
    ended_at: int, *, is_released: bool
) -> None:
    store = FakeEventStore()
    reservations = reservations_in(store)
    take = TakeReservation(id=FIRST, issued_at=NOW, covers=2)
    reservations.take(take, national_id=ANN)
    reservations.release(FIRST, ended_at=ended_at, national_id=ANN, now=NOW)
    assert ("ReservationReleased" in types_in_the_reservation(store)) is is_released


def test_the_reservation_of_an_open_request_is_kept_however_old_it_is() -> None:
    store = FakeEventStore()
    request(store, FIRST)
    release(store, FIRST)
    the_store_says(store, FAR_FUTURE)
    assert settle(store) == math.inf
    assert types_in_the_reservation(store) == ["ReservationTaken"]


def test_a_late_release_leaves_the_reservation_of_the_next_request_alone() -> None:
    store = FakeEventStore()
    request(store, FIRST)
    approve(store, FIRST)
    request(store, SECOND)
    release(store, FIRST)
    with pytest.raises(OpenRequestExists):
        request(store, THIRD)


def paused_before_recording(store: FakeEventStore, *, at: datetime = NOW) -> Actor:
    """An actor that has taken the reservation for `FIRST`, and not recorded the request yet."""
    the_store_says(store, NOW)
    actor = Actor(store, lambda its_store: request(its_store, FIRST, at=at))
    actor.begin()
    actor.go()  # loads the request's stream
    actor.go()  # looks whether the reservation's stream was deleted
    actor.go()  # takes the reservation
    assert types_in_the_reservation(store) == ["ReservationTaken"]
    return actor


def test_the_same_form_sent_again_continues_where_a_process_died() -> None:
    store = FakeEventStore()
    paused_before_recording(store).kill()
    assert request(store, FIRST).status is Status.UNDER_REVIEW


def test_another_request_is_refused_until_the_reservation_lapses() -> None:
    store = FakeEventStore()
    paused_before_recording(store).kill()
    with pytest.raises(OpenRequestExists):
        request(store, SECOND)
    the_store_says(store, MUCH_LATER)
    assert request(store, SECOND).status is Status.UNDER_REVIEW


@pytest.mark.parametrize("days", [-365, -1, 1, 365])
@pytest.mark.parametrize("who", ["the one that died", "the other"])
def test_a_server_with_a_wrong_clock_changes_nothing_about_that(days: int, who: str) -> None:
    store, wrong = FakeEventStore(), NOW + timedelta(days=days)
    first, second = (wrong, NOW) if who == "the one that died" else (NOW, wrong)
    paused_before_recording(store, at=first).kill()
    the_store_says(store, NOW + timedelta(seconds=59))
    with pytest.raises(OpenRequestExists):
        request(store, SECOND, at=second)
    the_store_says(store, NOW + timedelta(seconds=60))
    assert request(store, SECOND, at=second).status is Status.UNDER_REVIEW


def test_it_lapses_if_the_store_says_an_earlier_time_than_when_it_was_taken() -> None:
    store = FakeEventStore()
    paused_before_recording(store).kill()
    the_store_says(store, NOW - timedelta(days=1))
    assert request(store, SECOND).status is Status.UNDER_REVIEW


def test_the_reservation_of_a_process_that_died_is_released() -> None:
    store = FakeEventStore()
    paused_before_recording(store).kill()
    seconds = settle(store)
    assert types_in_the_reservation(store) == ["ReservationTaken"]
    the_store_says(store, NOW + timedelta(seconds=seconds))
    assert settle(store) == 0
    assert types_in_the_reservation(store) == ["ReservationTaken", "ReservationReleased"]


def test_a_process_that_was_paused_is_refused_if_another_request_was_made() -> None:
    store = FakeEventStore()
    late = paused_before_recording(store)
    the_store_says(store, MUCH_LATER)
    request(store, SECOND)
    while not late.ended:
        late.go()
    assert isinstance(late.raised, OpenRequestExists)
    assert [type(each).__name__ for each in store.events_of(FIRST)] == ["ApplicationLapsed"]


def test_a_process_that_was_paused_takes_the_reservation_again_if_it_is_free() -> None:
    store = FakeEventStore()
    late = paused_before_recording(store)
    the_store_says(store, MUCH_LATER)
    settle(store)
    while not late.ended:
        late.go()
    assert late.raised is None
    with pytest.raises(OpenRequestExists):
        request(store, SECOND)


def test_a_form_sent_again_after_it_lapsed_is_accepted() -> None:
    store = FakeEventStore()
    paused_before_recording(store).kill()
    the_store_says(store, MUCH_LATER)
    settle(store)
    assert request(store, FIRST).status is Status.UNDER_REVIEW
    with pytest.raises(OpenRequestExists):
        request(store, SECOND)


WORK: Final = {
    "first": lambda store: request(store, FIRST),
    "first again": lambda store: request(store, FIRST, at=MUCH_LATER),
    "second": lambda store: request(store, SECOND, at=NOW - timedelta(days=1)),
    "third, scored at once": lambda store: request(store, THIRD, score=9, at=FAR_FUTURE),
    "release first": lambda store: release(store, FIRST),
    "approve first": lambda store: approve(store, FIRST),
    "settle": settle,
}
REFUSED: Final = (Rejection, StaleRevision, Killed)


def open_at_once(store: FakeEventStore) -> int:
    """The largest number of requests that were open at the same time, in commit order."""
    loan_events = chain.from_iterable(
        store.streams[name] for name in store.streams if name.startswith(codec.STREAM_PREFIX)
    )
    is_open: set[UUID] = set()
    most = 0
    for recorded in sorted(loan_events, key=lambda each: each.position):
        _follow(recorded.event, is_open)
        most = max(most, len(is_open))
    return most


def _follow(event: LoanEvent, is_open: set[UUID]) -> None:
    match event:
        case LoanRequested():
            is_open.add(event.id)
        case AutoApproved() | AutoDenied() | ManuallyApproved() | ManuallyDenied():
            is_open.remove(event.id)


# Whose turn it is, and for how many calls. Most errors need only a few changes of turn.
TURNS: Final = st.lists(st.tuples(st.integers(0, 5), st.integers(1, 5)), max_size=12)
# What the store's clock says from one call to the next: it may stand still, jump, or go back.
SECONDS: Final = st.lists(st.integers(-200, 200) | st.integers(-(10**6), 10**6), min_size=1)


@settings(max_examples=300, deadline=None)
@given(
    work=st.lists(st.sampled_from(sorted(WORK)), min_size=2, max_size=6),
    turns=TURNS,
    seconds=SECONDS,
    killed=st.lists(st.integers(0, 5), max_size=2),
)
def test_at_most_one_is_open_in_any_order_of_calls_whatever_clocks_say(
    work: list[str], turns: list[tuple[int, int]], seconds: list[int], killed: list[int]
) -> None:
    check_at_most_one(work, turns, seconds, killed)


@settings(max_examples=600, deadline=None)
@given(turns=TURNS, seconds=SECONDS)
def test_at_most_one_is_open_when_an_application_lapses(
    turns: list[tuple[int, int]], seconds: list[int]
) -> None:
    work = ["first", "settle", "second", "first again", "settle"]
    check_at_most_one(work, turns, seconds, killed=[])


def check_at_most_one(
    work: list[str], turns: list[tuple[int, int]], seconds: list[int], killed: list[int]
) -> None:
    moments = cycle(NOW + timedelta(seconds=each) for each in seconds)
    store = FakeEventStore(clock=lambda: next(moments))
    actors = [Actor(store, WORK[name]) for name in work]
    order = chain.from_iterable([number] * calls for number, calls in turns)
    take_turns(actors, order, killed=killed)

    assert open_at_once(store) <= 1
    assert [
        each.raised for each in actors if each.raised and not isinstance(each.raised, REFUSED)
    ] == []

    # Afterwards, reservations of killed actors do not keep anybody from applying.
    for loan_request_id in (FIRST, SECOND, THIRD):
        if store.events_of(loan_request_id) and open_requests(store) == {loan_request_id}:
            approve(store, loan_request_id)
    the_store_says(store, FAR_FUTURE)
    assert request(store, UUID(int=4)).revision == 2


def open_requests(store: FakeEventStore) -> set[UUID]:
    is_open: set[UUID] = set()
    for loan_request_id in (FIRST, SECOND, THIRD):
        for event in store.events_of(loan_request_id):
            _follow(event, is_open)
    return is_open


def test_an_actor_makes_one_call_at_a_time() -> None:
    store = FakeEventStore()
    actor = Actor(store, lambda its_store: request(its_store, FIRST))
    actor.begin()
    assert store.event_ids == []
    while not actor.ended:
        actor.go()
    assert actor.raised is None
    assert len(store.event_ids) == 4
