"""How far positions are behind, against a real event store."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from itertools import islice
from typing import Any

import pytest
from django.utils import timezone
from esdbclient import RecordedEvent
from esdbclient.exceptions import DeadlineExceeded

from lepret.common.event_store_connection import SharedClient
from lepret.common.other_clocks import OtherClock
from readmodels.monitoring.lag import Lag, LagUnknown, lags_at
from tests.support.event_store import RunningEventStore
from tests.support.loans import append_event

pytestmark = pytest.mark.usefixtures("streams")


def positions(number: int) -> list[int]:
    """Append so many events, and return their positions."""
    return [append_event("SomethingHappened") for _ in range(number)]


def test_an_empty_store_leaves_nobody_behind(event_store: RunningEventStore) -> None:
    lags = lags_at([0])
    assert lags.store_position == 0
    assert lags.by_position == {0: Lag()}


class CountingClient(SharedClient):
    """Counts how often the store is read."""

    reads = 0

    def read_all(self, *args: Any, **kwargs: Any) -> Any:
        self.reads += 1
        return super().read_all(*args, **kwargs)


def test_each_position_has_its_own_lag_from_one_read(event_store: RunningEventStore) -> None:
    first, *_, before_last, last = positions(5)
    with closing(CountingClient(event_store.uri)) as client:
        lags = lags_at([0, first, before_last, last, last + 1], client=client)

    assert lags.store_position == last
    events = {at: lag.events for at, lag in lags.by_position.items()}
    assert events == {0: 5, first: 4, before_last: 1, last: 0, last + 1: 0}
    assert client.reads == 1


def test_the_oldest_event_that_waits_says_how_many_seconds() -> None:
    first = append_event("SomethingHappened")
    append_event("SomethingHappened")
    began = time.time()
    time.sleep(0.2)
    last = append_event("SomethingHappened")
    lags = lags_at([first, last]).by_position
    assert lags[last].seconds == 0
    assert 0.2 <= lags[first].seconds <= time.time() - began + 1.0


def test_system_events_do_not_count() -> None:
    position = append_event("SomethingHappened")
    append_event("$metadata-like")
    lags = lags_at([position])
    assert lags.by_position[position] == Lag()
    assert lags.store_position == position


def test_the_count_is_bounded_and_the_seconds_are_right_all_the_same(
    event_store: RunningEventStore,
) -> None:
    append_event("SomethingHappened")
    time.sleep(0.3)
    last = positions(5)[-1]
    lags = lags_at([0, last], count_up_to=3).by_position
    assert (lags[0].events, lags[0].is_at_least) == (3, True)
    assert lags[0].events_in_words == "3 or more"
    assert lags[0].seconds >= 0.3
    assert lags[last] == Lag()


class BusyClient(SharedClient):
    """Takes longer than it has, after the first events of a read."""

    def read_all(self, *args: Any, **kwargs: Any) -> Any:
        events = super().read_all(*args, **kwargs)
        return Hesitant(events, kwargs["timeout"])


class Hesitant:
    def __init__(self, events: Any, seconds: float) -> None:
        self.stop = events.stop
        self._events = events
        self._seconds = seconds

    def __iter__(self) -> Iterator[RecordedEvent]:
        yield from islice(self._events, 10)
        time.sleep(1.5 * self._seconds)
        yield from self._events


def test_a_count_that_takes_too_long_is_given_up(event_store: RunningEventStore) -> None:
    append_event("SomethingHappened", times=10_000)
    with closing(BusyClient(event_store.uri)) as client:
        lags = lags_at([0], count_up_to=10_000, read_seconds=1, client=client)
    [behind] = lags.by_position.values()
    assert behind.is_at_least
    assert 0 < behind.events < 10_000


def test_a_store_that_is_away_is_unknown(event_store: RunningEventStore) -> None:
    append_event("SomethingHappened")
    event_store.stop()
    with pytest.raises(LagUnknown):
        lags_at([0])


@pytest.mark.parametrize("days", [-1, 1])
def test_the_age_is_by_the_clock_of_the_store(event_store: RunningEventStore, days: int) -> None:
    positions(1)
    wrong = OtherClock(clock=lambda: timezone.now() + timedelta(days=days))
    with closing(SharedClient(event_store.uri, clock=wrong)) as client:
        [lag] = lags_at([0], client=client).by_position.values()
    assert 0 <= lag.seconds < 3600
    assert lag.events == 1


class LateClient(SharedClient):
    """Finds no event but system events in time, at the store's end or after a position."""

    finds_after: frozenset[int] = frozenset()

    def read_all(self, *args: Any, commit_position: int | None = None, **kwargs: Any) -> Any:
        if commit_position in self.finds_after:
            return super().read_all(*args, commit_position=commit_position, **kwargs)
        return _Late()


class _Late:
    def __iter__(self) -> _Late:
        return self

    def __next__(self) -> Any:
        raise DeadlineExceeded

    def stop(self) -> None: ...


def test_none_among_the_newest_is_level_unless_one_is_found_after_a_position(
    event_store: RunningEventStore,
) -> None:
    first, last = positions(2)
    append_event("$metadata-like", times=3)
    with closing(LateClient(event_store.uri)) as client:
        client.finds_after = frozenset({first})
        lags = lags_at([first, last], client=client)
    assert lags.store_position == last + 3
    assert lags.by_position[last] == Lag(is_at_least=True)
    assert lags.by_position[first].events == 1
