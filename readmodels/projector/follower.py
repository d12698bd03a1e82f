"""Follows the event store and keeps the read models level with it.

One `Follower` per projection: events -> batch -> one transaction that moves the checkpoint and
changes rows -> broadcast after the commit. Any number of them may follow the same projection on the
same database: the checkpoint moves by compare-and-swap, so each event changes rows once.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final, Protocol
from uuid import UUID

from django.db import Error, connections

from lepret.common.backoff import Backoff
from readmodels.projections import Projection
from readmodels.projector import failures
from readmodels.projector.applier import Applier, TargetGone, WentBack
from readmodels.projector.batches import (
    Changes,
    DatabaseAway,
    EventNotHandled,
    NewerVersionIsLive,
    Target,
    concerns,
)
from readmodels.projector.coordination.coordinator import Coordination
from readmodels.projector.feeds import EVENT_STORE_AWAY, Feeds
from readmodels.projector.received import Received

logger = logging.getLogger(__name__)

BATCH_SIZE: Final = 500
POLL_SECONDS: Final = 0.5
HOLD_SECONDS: Final = 0.1
STOPPED_POLL_SECONDS: Final = 1.0
MOST_LATE_CHANGES: Final = 1_000

DATABASE_AWAY: Final = (DatabaseAway, Error)


class Announcer(Protocol):
    """Tells others of what was committed: see `readmodels.live.broadcasts`."""

    def send(
        self, changes: Mapping[str, Iterable[UUID]], *, recorded_at: datetime | None = None
    ) -> object:
        """Tell each group which loan requests have changed."""

    def send_reached(self, name: str, position: int) -> object:
        """Tell those who wait for a projection how far it has come."""


class Announcements:
    """Tells of changes while live; of those before, once, when history has been caught up with.

    A projector that was away for a moment thus leaves no open page behind. Of the first build
    nothing is told, and of a long absence only a part: pages look again by themselves now and then.
    """

    def __init__(self, announcer: Announcer, *, is_first_build: bool) -> None:
        self._announcer = announcer
        self._is_first_build = is_first_build
        self._is_live = False
        self._late = Changes()

    def add(self, changes: Changes) -> None:
        """Take in what a commit has changed."""
        if self._is_live:
            self._send(changes)
        elif not self._is_first_build and _count(self._late) < MOST_LATE_CHANGES:
            self._late |= changes

    def go_live(self) -> None:
        """History has been caught up with."""
        self._is_live = True
        self.tell_late()

    def tell_late(self) -> None:
        """Tell of what was kept: nobody else will, also where following ends before it is live."""
        self._send(self._late)
        self._late = Changes()

    def _send(self, changes: Changes) -> None:
        if changes:
            self._announcer.send(changes.groups, recorded_at=changes.recorded_at)


class Held:
    """Live events that nobody waits for, kept for a moment to share a commit with those to come.

    That is those that change no row, and all of a projection of whose changes nobody is told.
    """

    def __init__(
        self, projection: Projection, *, most: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._projection = projection
        self._most = most
        self._clock = clock
        self._events: list[Received] = []
        self._since = 0.0
        self._are_urgent = False

    def add(self, events: Sequence[Received]) -> None:
        """Keep these, too."""
        if not events:
            return
        if not self._events:
            self._since = self._clock()
        self._events += events
        self._are_urgent = self._projection.group is not None and concerns(
            self._projection, self._events
        )

    def are_due(self) -> bool:
        """Whether they are to be applied now."""
        if self._are_urgent or len(self._events) >= self._most:
            return True
        return bool(self._events) and self.seconds_left(HOLD_SECONDS) <= 0

    def seconds_left(self, otherwise: float) -> float:
        """How long they may still be kept; if there are none, what is given."""
        if not self._events:
            return otherwise
        return max(0.0, self._since + HOLD_SECONDS - self._clock())

    def take(self) -> list[Received]:
        """All of them, which are then no longer kept."""
        events, self._events, self._are_urgent = self._events, [], False
        return events


class Follower:
    """Follows the event store for one projection's live rows, until `stop` is set.

    It works while the projection is its own by `shift`; `announcer` hears of each commit.
    """

    def __init__(
        self,
        projection: Projection,
        *,
        feeds: Feeds,
        announcer: Announcer,
        shift: Coordination,
        stop: threading.Event,
        batch_size: int = BATCH_SIZE,
    ) -> None:
        self._projection = projection
        self._name = projection.name
        self._feeds = feeds
        self._announcer = announcer
        self._shift = shift
        self._stop = stop
        self._batch_size = batch_size
        self._backoff = Backoff()
        self._attempts = failures.Attempts()
        self._lost = ""
        self._is_ahead = False  # Of the event store, as after restoring an older one.
        self._is_first_build = False  # Until caught up, through losses and new attempts.

    def run(self) -> None:
        """Follow, coming back by itself from whatever goes away."""
        try:
            while not self._stop.is_set():
                if self._shift.wait_until_mine(self._name, POLL_SECONDS):
                    self._follow_or_wait()
                    self._shift.given_up(self._name)
        finally:
            connections.close_all()

    def catch_up(self) -> None:
        """Apply what the store holds by now, and return.

        Raises:
            EventNotHandled, NewerVersionIsLive, DatabaseAway, django.db.Error,
            EventStoreDBClientException, SubscriptionEnded: the first failure.
        """
        self._follow(once=True)

    def _follow_or_wait(self) -> None:
        try:
            if failures.is_stopped(self._name):
                self._stop.wait(STOPPED_POLL_SECONDS)
            else:
                self._follow()
        except (TargetGone, WentBack):
            pass  # The next attempt begins with what is there now.
        except NewerVersionIsLive:
            self._stand_aside()
        except EVENT_STORE_AWAY as error:
            self._lose("the event store", error)
        except DATABASE_AWAY as error:
            self._lose("the database", error)
        except EventNotHandled as error:
            self._stumble(error)

    def _follow(self, *, once: bool = False) -> None:
        """From the checkpoint on, until something ends it."""
        target = Target.live(self._projection)
        self._is_first_build |= target.position == 0
        announcements = Announcements(self._announcer, is_first_build=self._is_first_build)

        def committed(position: int, changes: Changes) -> None:
            self._backoff.reset()
            announcements.add(changes)
            self._announcer.send_reached(self._name, position)

        applier = Applier(target, committed)
        held = Held(self._projection, most=self._batch_size)
        try:
            with self._feeds.after(target.position) as cursor:
                while self._goes_on():
                    timeout = held.seconds_left(POLL_SECONDS)
                    batch = cursor.next_batch(limit=self._batch_size, timeout=timeout)
                    held.add(batch.events)
                    if batch.caught_up or not cursor.is_caught_up or held.are_due():
                        applier.apply(held.take())
                    elif self._is_ahead:
                        # Nothing comes until a rebuild has taken the checkpoint back.
                        applier.look_again()
                    if batch.caught_up:
                        announcements.go_live()
                        self._note_caught_up(applier.position)
                    if batch.caught_up and once:
                        return
        finally:
            announcements.tell_late()

    def _goes_on(self) -> bool:
        return not self._stop.is_set() and self._shift.is_mine(self._name)

    def _stumble(self, error: EventNotHandled) -> None:
        """Over an event: try again a few times, then stop there until someone says how to go on."""
        attempts = self._attempts.at(error.received.position)
        if attempts < failures.MOST_ATTEMPTS:
            logger.warning("%s; it will be tried again", error)
            self._wait()
            return
        try:
            failures.stop(self._name, error, attempts=attempts)
        except DATABASE_AWAY as lost:
            self._lose("the database", lost)
            return
        self._attempts = failures.Attempts()
        advice = failures.how_to_go_on(self._name, error)
        logger.error("%s. %s is stopped: %s", error, self._name, advice)

    def _stand_aside(self) -> None:
        if self._lost != "its rows":
            logger.warning("%s: a newer version's rows are live; waiting", self._name)
        self._lost = "its rows"
        self._stop.wait(STOPPED_POLL_SECONDS)

    def _lose(self, what: str, error: Exception) -> None:
        if self._lost != what:
            logger.warning("%s lost %s (%s)", self._name, what, _kind(error))
        self._lost = what
        self._wait()

    def _wait(self) -> None:
        # Connections that broke are not used again.
        connections.close_all()
        self._stop.wait(self._backoff.next_delay())

    def _note_caught_up(self, position: int) -> None:
        if self._lost:
            logger.info("%s regained %s", self._name, self._lost)
        logger.info("%s is caught up at %d", self._name, position)
        self._lost = ""
        self._is_first_build = False
        self._backoff.reset()
        self._warn_if_ahead(position)

    def _warn_if_ahead(self, position: int) -> None:
        # Only where the store's events were replaced, as by restoring an older backup.
        last = self._feeds.source.last_position()
        self._is_ahead = position > last
        if self._is_ahead:
            logger.warning(
                "%s is at %d, ahead of the event store's last event at %d: is it another store? "
                "Rebuild the read model.",
                self._name,
                position,
                last,
            )


def _count(changes: Changes) -> int:
    return sum(len(ids) for ids in changes.groups.values())


def _kind(error: Exception) -> str:
    return str(error) if isinstance(error, DatabaseAway) else type(error).__qualname__
