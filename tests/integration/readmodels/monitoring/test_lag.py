"""How far positions are behind, against a real event store."""

from __future__ import annotations

import time
from typing import Any

import pytest
from esdbclient import EventStoreDBClient

from readmodels.monitoring import lag
from readmodels.monitoring.lag import Lag, LagUnknown, lags_at
from tests.support.event_store import RunningEventStore
from tests.support.loans import append_event

pytestmark = pytest.mark.usefixtures("event_store")


def positions(number: int) -> list[int]:
    """The positions of so many events that are appended."""
    return [append_event("SomethingHappened") for _ in range(number)]


def test_an_empty_store_leaves_nobody_behind() -> None:
    lags = lags_at([0])
    assert lags.store_position == 0
    assert lags.by_position == {0: Lag()}


def test_each_position_has_its_own_lag_from_one_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    first, *_, before_last, last = positions(5)
    readings: list[dict[str, Any]] = []
    read_all = EventStoreDBClient.read_all

    def counted(self: EventStoreDBClient, **arguments: Any) -> Any:
        readings.append(arguments)
        return read_all(self, **arguments)

    monkeypatch.setattr(EventStoreDBClient, "read_all", counted)
    lags = lags_at([0, first, before_last, last, last + 1])

    assert lags.store_position == last
    events = {at: lag.events for at, lag in lags.by_position.items()}
    assert events == {0: 5, first: 4, before_last: 1, last: 0, last + 1: 0}
    assert len(readings) == 1


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


def test_the_count_is_bounded_and_the_seconds_are_right_all_the_same() -> None:
    append_event("SomethingHappened")
    time.sleep(0.3)
    last = positions(5)[-1]
    lags = lags_at([0, last], count_up_to=3).by_position
    assert (lags[0].events, lags[0].is_at_least) == (3, True)
    assert lags[0].events_in_words == "3 or more"
    assert lags[0].seconds >= 0.3
    assert lags[last] == Lag()


def test_a_count_that_takes_too_long_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    append_event("SomethingHappened", times=10_000)
    monkeypatch.setattr(lag, "READ_SECONDS", 0.1)
    [behind] = lags_at([0], count_up_to=10_000).by_position.values()
    assert behind.is_at_least
    assert 0 < behind.events < 10_000


def test_a_store_that_is_away_is_unknown(event_store: RunningEventStore) -> None:
    append_event("SomethingHappened")
    event_store.stop()
    with pytest.raises(LagUnknown):
        lags_at([0])
