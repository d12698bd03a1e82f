"""Reservations that are released, and those that are kept."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import chain, repeat
from typing import Final, cast
from uuid import UUID, uuid4

import pytest
from django.utils import timezone
from esdbclient import RecordedEvent

from loans.adapters import codec
from loans.application.policies import Policies
from loans.application.use_cases import request_loan
from loans.domain.commands import RequestLoan
from loans.domain.reservation import TakeReservation
from loans.workers.known_releases import KnownReleases
from loans.workers.reservation_releases import LAPSES, RELEASES, Lapses, Releases
from loans.workers.worker import NotYet
from tests.support.fakes import FakeCreditBureau, FakeEventStore, reservations_in
from tests.support.interleaving import Killed
from tests.support.loans import recorded, recorded_as

ANN: Final = "123456aa"
MINUTE: Final = timedelta(minutes=1)


class NoReleases:
    """None is known, unless it is said."""

    are_known = False

    def include(self, taken: RecordedEvent) -> bool:
        return self.are_known


class Desk:
    """Ann's requests and her reservation, and the workers' handlers."""

    def __init__(self) -> None:
        self.store = FakeEventStore()
        self.reservations = reservations_in(self.store)
        self.stream = self.reservations.stream_of(ANN)
        self.releases = NoReleases()

    def request(self, score: int) -> UUID:
        command = RequestLoan(
            id=uuid4(), issued_at=timezone.now(), name="Ann", national_id=ANN, amount=5000
        )
        request_loan(
            command,
            event_store=self.store,
            policies=Policies(self.store),
            credit_bureau=FakeCreditBureau(score),
            reservations=self.reservations,
        )
        return command.id

    def take(self, *, ago: timedelta) -> None:
        """Take the reservation for a request that is never recorded, on a server far behind."""
        wrong = timezone.now() - timedelta(days=1)
        command = TakeReservation(id=uuid4(), issued_at=wrong, covers=None)
        self.store.clock = lambda: timezone.now() - ago
        self.reservations.take(command, national_id=ANN)
        self.store.clock = timezone.now

    def release_after(self, loan_request_id: UUID) -> None:
        """Handle the last event of a request's stream."""
        event = self.store.events_of(loan_request_id)[-1]
        releases = Releases(event_store=self.store, reservations=self.reservations)
        releases.handle(recorded(event))

    def lapse(self, taken: RecordedEvent | None = None) -> None:
        """Handle that the reservation was taken; first, unless another event is given."""
        self.lapses.handle(taken or self.taken)

    @property
    def lapses(self) -> Lapses:
        known = cast(KnownReleases, self.releases)
        return Lapses(reservations=self.reservations, releases=known)

    @property
    def taken(self) -> RecordedEvent:
        """The first event of the reservation's stream."""
        taken = self.store.load(self.stream).recorded[0]
        event = recorded_as(type(taken.event).__name__, taken.event.model_dump_json().encode())
        return replace(event, stream_name=self.stream.name, recorded_at=taken.recorded_at)

    @property
    def types(self) -> list[str]:
        return [type(each).__name__ for each in self.store.load(self.stream).events]


@pytest.fixture
def desk() -> Desk:
    return Desk()


class TestADecision:
    @pytest.mark.parametrize("score", [1, 9])
    def test_releases_the_reservation_once(self, desk: Desk, score: int) -> None:
        loan_request_id = desk.request(score)
        desk.release_after(loan_request_id)
        desk.release_after(loan_request_id)

        assert desk.types == ["ReservationTaken", "ReservationReleased"]

    def test_leaves_the_reservation_of_the_next_request_alone(self, desk: Desk) -> None:
        decided = desk.request(9)
        desk.release_after(decided)
        desk.request(5)
        desk.release_after(decided)

        assert desk.types == ["ReservationTaken", "ReservationReleased", "ReservationTaken"]


class TestADecisionMadeAtOnce:
    """The request itself releases its reservation."""

    def test_is_passed_over(self, desk: Desk) -> None:
        decided = recorded(desk.store.events_of(desk.request(9))[-1])
        at_once = replace(decided, metadata=b'{"scoredAtOnce": true}')

        assert RELEASES.is_wanted(decided), "recorded later, or by an older version"
        assert not RELEASES.is_wanted(at_once)

    def test_has_its_reservation_released_later_if_its_process_died(self, desk: Desk) -> None:
        def die() -> None:
            raise Killed

        desk.store.before_append += [
            lambda: None,
            lambda: None,
            die,
        ]  # It takes, records, releases.
        desk.store.clock = lambda: timezone.now() - MINUTE
        with pytest.raises(Killed):
            desk.request(9)
        desk.store.clock = timezone.now
        assert desk.types == ["ReservationTaken"]
        desk.lapse()

        assert desk.types == ["ReservationTaken", "ReservationReleased"]


class TestAReservationThatWasTaken:
    def test_is_kept_for_a_while(self, desk: Desk) -> None:
        desk.take(ago=MINUTE / 2)
        with pytest.raises(NotYet) as too_early:
            desk.lapse()

        assert too_early.value.seconds == pytest.approx(30, abs=5)
        assert desk.types == ["ReservationTaken"]

    def test_is_looked_at_again_if_the_stores_clock_is_behind_what_it_was(self, desk: Desk) -> None:
        """It says the time to the second: with each answer it may go back by as much."""
        desk.take(ago=MINUTE)
        behind = timedelta(seconds=0.9)
        times = chain([timezone.now()], repeat(timezone.now() - behind))
        desk.store.clock = lambda: next(times)
        with pytest.raises(NotYet) as too_early:
            desk.lapse()
        assert 0 < too_early.value.seconds <= behind.total_seconds()
        assert desk.types == ["ReservationTaken"]

        desk.store.clock = timezone.now
        desk.lapse()

        assert desk.types == ["ReservationTaken", "ReservationReleased"]

    def test_lapses_if_its_request_is_not_recorded(self, desk: Desk) -> None:
        desk.take(ago=MINUTE)
        desk.lapse()

        assert desk.types == ["ReservationTaken", "ReservationReleased"]

    def test_that_is_known_to_be_released_is_not_looked_at(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        desk.take(ago=MINUTE)
        taken = desk.taken
        desk.releases.are_known = True
        monkeypatch.setattr(desk.store, "load", None)
        desk.lapse(taken)

    def test_is_kept_for_a_request_that_is_open(self, desk: Desk) -> None:
        desk.take(ago=2 * MINUTE)
        taken_long_ago = desk.taken
        desk.lapse()
        desk.request(5)
        desk.lapse(taken_long_ago)

        assert desk.types == ["ReservationTaken", "ReservationReleased", "ReservationTaken"]


class TestAnEventThatIsParked:
    def test_is_logged_without_the_name_of_the_stream(
        self, desk: Desk, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The name stands for a person, although it does not identify them."""
        desk.take(ago=MINUTE)
        lapses = desk.lapses
        lapses.give_up(desk.taken, reason="KeyError at x.py:1", attempts=25)

        assert "Parked ReservationTaken at 1 after 25 attempts (KeyError at x.py:1)" in caplog.text
        assert desk.stream.name not in caplog.text


def test_the_groups_name_event_types_that_exist() -> None:
    assert set(RELEASES.event_types) < codec.LOAN_EVENTS.keys()
    assert set(LAPSES.event_types) < codec.RESERVATION_EVENTS.keys()
