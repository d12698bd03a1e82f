"""How far positions are behind the end of the event store, found in one read for all."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from esdbclient import RecordedEvent
from esdbclient.exceptions import DeadlineExceeded, EventStoreDBClientException

from lepret.common.event_store_client import event_store_client
from lepret.common.event_store_connection import SharedClient

MOST_COUNTED: Final = 10_000
READ_SECONDS: Final = 1.5
SEARCH_SECONDS: Final = 0.5


class LagUnknown(Exception):
    """The event store did not answer in time."""


@dataclass(frozen=True)
class Lag:
    """The events that are still to be applied.

    `seconds` is the age of the oldest, 0 if there is none. `events` is how many there are or, if
    `is_at_least`, how many were counted before the count was given up.
    """

    seconds: float = 0.0
    events: int = 0
    is_at_least: bool = False

    @property
    def events_in_words(self) -> str:
        """For people: `12`, or `10000 or more`."""
        return f"{self.events} or more" if self.is_at_least else str(self.events)


@dataclass(frozen=True)
class Lags:
    """The position of the store's last event, and the lag of each position that was asked for."""

    store_position: int
    by_position: Mapping[int, Lag]


def lags_at(
    positions: Iterable[int],
    *,
    count_up_to: int = MOST_COUNTED,
    read_seconds: float = READ_SECONDS,
    client: SharedClient | None = None,
) -> Lags:
    """How far each of `positions` is behind. Uses the process's client if none is given.

    Reads the store backwards from its end to the lowest of the positions, but no more than
    `count_up_to` events and no longer than `read_seconds`. For a position that was not reached, the
    event after it is looked up by a read of its own.
    System events do not count: no projection gets any. If there are so many of them at the end that
    no other event is found in time, and none after a position either, that one is level.

    Raises:
        LagUnknown: the event store did not answer in time.
    """
    try:
        return _Reader(client or event_store_client(), read_seconds).lags(positions, count_up_to)
    except EventStoreDBClientException as error:
        raise LagUnknown from error


@dataclass(frozen=True)
class _Tail:
    """The last events of the store: how many, and the oldest of them."""

    events: int = 0
    oldest: RecordedEvent | None = None


class _Count:
    """Counts events from the store's end backwards, and notes the count at each position."""

    def __init__(self, positions: Iterable[int]) -> None:
        self.not_found = sorted(set(positions))
        self.found: dict[int, _Tail] = {}
        self.tail = _Tail()
        self.store_position = 0

    def add(self, event: RecordedEvent) -> bool:
        """Count the next older event; returns whether to read on."""
        position = event.commit_position or 0
        self.store_position = max(self.store_position, position)
        while self.not_found and self.not_found[-1] >= position:
            self.found[self.not_found.pop()] = self.tail
        if self.not_found:
            self.tail = _Tail(self.tail.events + 1, event)
        return bool(self.not_found)

    def end(self) -> None:
        """Note that the store's first event was reached."""
        self.found |= dict.fromkeys(self.not_found, self.tail)
        self.not_found = []


@dataclass(frozen=True)
class _Reader:
    """Reads an event store, for no longer than `seconds` at a time."""

    client: SharedClient
    seconds: float

    def lags(self, positions: Iterable[int], count_up_to: int) -> Lags:
        count = _Count(positions)
        if not self._read_back(count, count_up_to):
            return self._lags_behind_system_events(count.not_found)
        lags = {at: self._lag(tail.events, tail.oldest) for at, tail in count.found.items()}
        for position in count.not_found:
            after = self._event_after_in_time(position, self.seconds) or count.tail.oldest
            lags[position] = self._lag(count.tail.events, after, is_at_least=True)
        return Lags(count.store_position, lags)

    def _lags_behind_system_events(self, positions: Iterable[int]) -> Lags:
        # Of any kind, which the store need not search for: it fails only if the store is away.
        newest = self.client.get_commit_position(filter_exclude=(), timeout=self.seconds)
        give_up_at = time.monotonic() + SEARCH_SECONDS
        lags = {}
        for position in positions:
            after = self._event_after_in_time(position, give_up_at - time.monotonic())
            lags[position] = self._lag(0 if after is None else 1, after, is_at_least=True)
        return Lags(newest, lags)

    def _event_after_in_time(self, position: int, seconds: float) -> RecordedEvent | None:
        try:
            return _Reader(self.client, max(0.0, seconds)).event_after(position)
        except DeadlineExceeded:
            return None

    def _read_back(self, count: _Count, count_up_to: int) -> bool:
        """Count events; returns whether any was found, or there is none, within the time."""
        events = self.client.read_all(backwards=True, limit=count_up_to, timeout=self.seconds)
        try:
            for event in events:
                if not count.add(event):
                    return True
        except DeadlineExceeded:
            return count.store_position > 0
        finally:
            events.stop()
        if count.tail.events < count_up_to:
            count.end()
        return True

    def event_after(self, position: int) -> RecordedEvent | None:
        """The first event after a position. Raises DeadlineExceeded if it is not found in time."""
        # A read starts with the event at the position itself.
        events = self.client.read_all(
            commit_position=position or None, limit=2, timeout=self.seconds
        )
        return next((event for event in events if (event.commit_position or 0) > position), None)

    def _lag(self, events: int, oldest: RecordedEvent | None, *, is_at_least: bool = False) -> Lag:
        recorded_at = oldest.recorded_at if oldest is not None else None
        return Lag(self._age(recorded_at), events, is_at_least)

    def _age(self, recorded_at: datetime | None) -> float:
        if recorded_at is None:
            return 0.0
        # By the store's clock, which the read has just heard, to the second.
        return max(0.0, (self.client.clock.now() - recorded_at).total_seconds())
