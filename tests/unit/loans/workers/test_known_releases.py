"""Which reservations are known to be released, and how seldom the event store is asked."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import pytest
from esdbclient import RecordedEvent
from esdbclient.exceptions import ServiceUnavailable
from hypothesis import given
from hypothesis import strategies as st

from lepret.common.event_store_connection import SharedClient
from loans.workers.known_releases import SECONDS_BETWEEN_READS, KnownReleases
from tests.support.clock import Clock
from tests.support.loans import recorded_as


class Store:
    """The reservations of an event store, and a client of it."""

    def __init__(self) -> None:
        self.events: list[RecordedEvent] = []
        self.reads = 0
        self.is_away = False

    def take(self, stream: str) -> RecordedEvent:
        return self._record("ReservationTaken", stream)

    def release(self, stream: str) -> RecordedEvent:
        return self._record("ReservationReleased", stream)

    def _record(self, event_type: str, stream: str) -> RecordedEvent:
        at = 10 * len(self.events) + 10
        self.events.append(replace(recorded_as(event_type, at=at), stream_name=stream))
        return self.events[-1]

    def read_all(
        self, *, commit_position: int, filter_include: list[str], limit: int, timeout: float
    ) -> list[RecordedEvent]:
        assert timeout < 60
        self.reads += 1
        if self.is_away:
            raise ServiceUnavailable
        # EventStoreDB refuses to read from where no event begins.
        assert commit_position in {each.commit_position for each in self.events}
        found = (
            each
            for each in self.events
            if cast(int, each.commit_position) >= commit_position and each.type in filter_include
        )
        return [each for each, _ in zip(found, range(limit), strict=False)]


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def clock() -> Clock:
    return Clock()


def known_in(store: Store, clock: Clock, **limits: Any) -> KnownReleases:
    return KnownReleases(lambda: cast(SharedClient, store), clock=clock, **limits)


def test_many_that_were_released_take_one_read(store: Store, clock: Clock) -> None:
    taken = []
    for number in range(100):
        taken.append(store.take(f"person-{number}"))
        store.release(f"person-{number}")
    known = known_in(store, clock)
    assert all(map(known.include, taken))
    assert store.reads == 1


def test_one_that_is_held_is_not_among_them(store: Store, clock: Clock) -> None:
    held, other = store.take("ann"), store.take("bob")
    store.release("bob")
    known = known_in(store, clock)
    assert [known.include(held), known.include(other)] == [False, True]


def test_one_that_was_taken_again_is_not_among_them(store: Store, clock: Clock) -> None:
    first = store.take("ann")
    store.release("ann")
    second = store.take("ann")
    known = known_in(store, clock)
    assert [known.include(first), known.include(second)] == [True, False]


def test_what_is_released_later_is_found_after_a_while(store: Store, clock: Clock) -> None:
    taken = store.take("ann")
    known = known_in(store, clock)
    assert not known.include(taken)
    store.release("ann")
    assert not known.include(taken)
    assert store.reads == 1
    clock.now += SECONDS_BETWEEN_READS
    assert known.include(taken)


def test_a_long_history_is_read_in_pages(store: Store, clock: Clock) -> None:
    taken = []
    for number in range(100):
        taken.append(store.take(f"person-{number}"))
        store.release(f"person-{number}")
    known = known_in(store, clock, read_at_once=10)
    assert all(map(known.include, taken))
    assert store.reads <= 12


def test_no_more_are_kept_than_there_is_room_for(store: Store, clock: Clock) -> None:
    known = known_in(store, clock, read_at_once=10, most_kept=20)
    for number in range(200):
        taken = store.take(f"person-{number}")
        store.release(f"person-{number}")
        clock.now += SECONDS_BETWEEN_READS
        assert known.include(taken)
        assert len(known) <= 30


def test_while_the_store_is_away_none_is_known_and_it_is_hardly_asked(
    store: Store, clock: Clock
) -> None:
    known = known_in(store, clock)
    store.is_away = True
    for number in range(100):
        assert not known.include(store.take(f"person-{number}"))
    assert store.reads == 1
    store.is_away = False
    store.release("person-99")
    clock.now += SECONDS_BETWEEN_READS
    assert known.include(store.events[-2])


@given(
    happens=st.lists(
        st.tuples(
            st.sampled_from(["take", "release", "look", "wait", "away"]),
            st.integers(min_value=0, max_value=30),
        ),
        max_size=80,
    ),
    read_at_once=st.integers(min_value=2, max_value=5),
    most_kept=st.integers(min_value=1, max_value=5),
)
def test_none_is_known_that_is_held(
    happens: list[tuple[str, int]], read_at_once: int, most_kept: int
) -> None:
    store, clock = Store(), Clock()
    known = known_in(store, clock, read_at_once=read_at_once, most_kept=most_kept)
    taken: list[RecordedEvent] = []
    holds: dict[str, RecordedEvent] = {}
    for what, number in happens:
        person = f"person-{number % 4}"
        match what:
            case "take" if person not in holds:
                holds[person] = store.take(person)
                taken.append(holds[person])
            case "release" if person in holds:
                store.release(person)
                del holds[person]
            case "look" if taken:
                looked_at = taken[number % len(taken)]
                assert not (known.include(looked_at) and looked_at in holds.values())
            case "wait":
                clock.now += number / 10
            case "away":
                store.is_away = number % 2 == 0
