"""Follows the event store for one projection, and keeps its live rows up to date.

Events -> batch -> one transaction that changes rows and moves the checkpoint -> broadcast after the
commit. Any number of followers may work on the same projection and database: the checkpoint moves
by compare-and-swap, so that each event changes rows once.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Protocol
from uuid import UUID

from django.db import connections

from readmodels.database import read_models_connection
from readmodels.models import Checkpoint
from readmodels.projections import PROJECTIONS, Projection
from readmodels.projector import failures
from readmodels.projector.batches import (
    DATABASE_AWAY,
    Applier,
    Changes,
    CheckpointGone,
    CheckpointWentBack,
    Concern,
    EventNotHandled,
    NewerEvent,
    NewerVersionIsLive,
)
from readmodels.projector.bookmarks import StoreReplaced
from readmodels.projector.coordination.coordinator import Coordinator
from readmodels.projector.feeds import EVENT_STORE_AWAY, Feeds
from readmodels.projector.program import fingerprint
from readmodels.projector.received import Received
from readmodels.projector.recovery import Recovery
from readmodels.projector.tuning import DEFAULT, Tuning

logger = logging.getLogger(__name__)


class Announcer(Protocol):
    """Tells open pages what was committed: see `readmodels.live.broadcasts`."""

    def send(
        self, changes: Mapping[str, Iterable[UUID]], *, recorded_at: datetime | None = None
    ) -> object:
        """Tell each group which loan requests have changed."""

    def send_reached(self, name: str, position: int) -> object:
        """Tell those who wait for a projection which position it has reached."""


class Announcements:
    """Announces changes at once when live, and earlier ones together when history has ended.

    So open pages are up to date after a projector was away for a moment. The first build is not
    announced, and after a long absence only about `most_late` changes are: pages also read again by
    themselves.
    """

    def __init__(self, announcer: Announcer, *, is_first_build: bool, most_late: int) -> None:
        self._announcer = announcer
        self._is_first_build = is_first_build
        self._most_late = most_late
        self._is_live = False
        self._late = Changes()

    def add(self, changes: Changes) -> None:
        """Announce what a commit has changed, or keep it for later."""
        if self._is_live:
            self._send(changes)
        elif not self._is_first_build and self._late.count < self._most_late:
            self._late |= changes

    def go_live(self) -> None:
        """Announce what was kept, and from now on everything at once."""
        self._is_live = True
        self.send_late()

    def send_late(self) -> None:
        """Announce what was kept. Also needed if following ends earlier: nobody else will."""
        self._send(self._late)
        self._late = Changes()

    def _send(self, changes: Changes) -> None:
        if changes:
            self._announcer.send(changes.groups, recorded_at=changes.recorded_at)


class Held:
    """Live events that are held for a moment, to share a commit with the next ones.

    Not urgent are events that change no row, and all events of a projection that has no group.
    Urgent ones are held only under load, and shorter: so each page has a few commits at once, and
    many events, each of which would be a commit of its own, leave the machine time for others. The
    more events shared the last commit, the longer the next are held. What concerns a projection
    that leads is held for a moment by the others, too.
    """

    def __init__(
        self,
        projection: Projection,
        tuning: Tuning = DEFAULT,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._projection = projection
        self._tuning = tuning
        self._clock = clock
        self._events: list[Received] = []
        self._bytes = 0
        self._since = 0.0
        self._concern = Concern(projection)
        self._leading = [each for each in PROJECTIONS.values() if each.leads and each != projection]
        self._urgent_since: float | None = None
        # When urgent commits would be at their rate again. Each moves it on, and time catches up.
        self._at_rate_from = 0.0
        self._were = 0  # How many were taken last.

    def add(self, events: Sequence[Received]) -> None:
        """Hold these, too."""
        if not events:
            return
        if not self._events:
            self._since = self._clock()
        self._events += events
        self._bytes += sum(each.size for each in events)
        if self._urgent_since is None and any(map(self._is_urgent, events)):
            self._urgent_since = self._clock()

    def are_due(self) -> bool:
        """Whether they are to be applied now."""
        return self._are_many() or (bool(self._events) and self.seconds_left() <= 0)

    def seconds_left(self) -> float:
        """How long to wait for more events before those held are due."""
        if not self._events:
            return self._tuning.poll_seconds
        held_until = self._since + self._hold_seconds
        if self._urgent_since is not None:
            held_until = min(held_until, self._due_from(self._urgent_since))
        return max(0.0, held_until - self._clock())

    def take(self) -> list[Received]:
        """Return all of them and hold them no longer."""
        self._were = len(self._events)
        if self._urgent_since is not None:
            at_rate_from = max(self._at_rate_from, self._clock())
            self._at_rate_from = at_rate_from + self._commit_seconds
        events, self._events, self._bytes, self._urgent_since = self._events, [], 0, None
        self._concern = Concern(self._projection)
        return events

    def note_time(self, seconds: float) -> None:
        """Note how long it took to apply what was taken last: so commits keep to their share."""
        whole = seconds / self._tuning.commit_share
        at_rate_from = self._at_rate_from + max(0.0, whole - self._commit_seconds)
        # After a long history, too, no event is held for longer than others are.
        most = self._clock() + self._ahead + self._tuning.hold_seconds
        self._at_rate_from = min(at_rate_from, most)

    @property
    def _hold_seconds(self) -> float:
        return self._while_busy(self._tuning.hold_seconds, self._tuning.longest_hold_seconds)

    @property
    def _commit_seconds(self) -> float:
        return self._while_busy(self._tuning.commit_seconds, self._tuning.hold_seconds)

    def _while_busy(self, seconds: float, longest: float) -> float:
        """How long it is instead of `seconds`, after as many events as were taken last."""
        longer = seconds * self._were / self._tuning.busy_events
        return max(seconds, min(longer, longest))

    @property
    def _ahead(self) -> float:
        """By how much the first commits after a pause may be ahead of the rate."""
        return self._tuning.commit_seconds * (self._tuning.commits_at_once - 1)

    @property
    def hastened_by(self) -> Callable[[Received], bool] | None:
        """Which events may make these due sooner; `None` if none are held."""
        if not self._events:
            return None
        return self._is_urgent if self._urgent_since is None else _none

    def _is_urgent(self, received: Received) -> bool:
        return self._projection.group is not None and self._concern.includes(received)

    def _due_from(self, urgent_since: float) -> float:
        at_rate_from = self._at_rate_from - self._ahead
        way_given_at = urgent_since + self._tuning.give_way_seconds
        if at_rate_from >= way_given_at or not self._concern_who_leads():
            return at_rate_from
        return way_given_at

    def _concern_who_leads(self) -> bool:
        concerns = [Concern(each) for each in self._leading]
        return any(each.includes(event) for event in self._events for each in concerns)

    def _are_many(self) -> bool:
        most, most_bytes = self._tuning.batch_size, self._tuning.batch_bytes
        return len(self._events) >= most or self._bytes >= most_bytes


def _none(received: Received) -> bool:
    return False


class Lookout:
    """Looks every few seconds whether the checkpoint is still where the follower has left it.

    It is not, if an older database was restored: without an event, nothing else would tell.
    """

    def __init__(self, applier: Applier, seconds: float) -> None:
        self._applier = applier
        self._seconds = seconds
        self._looked_at = time.monotonic()
        self._is_gone = False

    def look(self) -> None:
        """Look, if it is time to.

        Raises:
            CheckpointWentBack.
            CheckpointGone: twice in a row, since a table that is being restored is empty at first.
        """
        if time.monotonic() - self._looked_at < self._seconds:
            return
        self._looked_at = time.monotonic()
        # SQLite's file may have been replaced by another one.
        read_models_connection().close()
        try:
            self._applier.refresh()
            self._is_gone = False
        except DATABASE_AWAY:
            pass  # That matters only when there is something to write.
        except CheckpointGone:
            if self._is_gone:
                raise
            self._is_gone = True


class Follower:
    """Follows the event store for one projection's live rows, until `stop` is set.

    It works while `coordinator` assigns the projection to this process. `announcer` is told of each
    commit. What it cannot go on with it leaves to other projectors, which may be of another version
    of the program.
    """

    def __init__(
        self,
        projection: Projection,
        *,
        feeds: Feeds,
        announcer: Announcer,
        coordinator: Coordinator,
        stop: threading.Event,
        tuning: Tuning = DEFAULT,
    ) -> None:
        self._projection = projection
        self._name = projection.name
        self._feeds = feeds
        self._announcer = announcer
        self._coordinator = coordinator
        self._stop = stop
        self._tuning = tuning
        self._recovery = Recovery(projection.name, stop=stop, backoff=tuning.backoff())
        self._attempts = failures.Attempts()
        self._stands_aside = False
        self._is_older = False  # Than what wrote an event, or the live rows.
        self._told: set[str] = set()  # What was logged about newer versions.
        self._is_lost = False  # In another event store than that of its rows.
        self._is_first_build = False  # Until caught up, through losses and new attempts.
        fingerprint()

    def run(self) -> None:
        """Follow, and try again after any loss."""
        try:
            while not self._stop.is_set():
                if self._coordinator.wait_until_assigned(self._name, self._tuning.poll_seconds):
                    self._follow_or_wait()
                    self._coordinator.stopped(self._name)
                elif self._stands_aside:
                    self._come_back_if_possible()
        finally:
            connections.close_all()

    def catch_up(self) -> None:
        """Apply what the store holds by now, and return.

        Raises:
            EventNotHandled, NewerEvent, NewerVersionIsLive, StoreReplaced, DatabaseAway,
            django.db.Error, EventStoreDBClientException, SubscriptionEnded: the first failure.
        """
        self._follow(once=True)

    def _follow_or_wait(self) -> None:
        try:
            if failures.is_stopped(self._name):
                if not self._stands_aside:
                    logger.info("%s stands still; `manage.py projections` says why", self._name)
                self._stand_aside()
            else:
                self._follow()
        except (CheckpointGone, CheckpointWentBack):
            pass  # The next attempt begins at the new checkpoint.
        except NewerVersionIsLive:
            self._tell_of_newer(f"{self._name}: a newer version's rows are live; waiting")
            self._stand_aside()
        except StoreReplaced:
            self._wait_for_a_rebuild()
        except (*EVENT_STORE_AWAY, *DATABASE_AWAY) as loss:
            self._recovery.wait_after(loss)
        except NewerEvent as newer:
            self._wait_for_newer(newer)
        except EventNotHandled as failure:
            self._retry_or_stop(failure)

    def _follow(self, *, once: bool = False) -> None:
        """Follow from the checkpoint on, until something ends it."""

        passing = failures.Passing(self._name)

        def committed(position: int, changes: Changes) -> None:
            self._recovery.progress()
            passing.reached(position)
            announcements.add(changes)
            self._announcer.send_reached(self._name, position)

        applier = Applier.live(self._projection, committed)
        self._is_first_build |= applier.position == 0
        announcements = Announcements(
            self._announcer,
            is_first_build=self._is_first_build,
            most_late=self._tuning.most_late_changes,
        )
        held = Held(self._projection, self._tuning)
        lookout = Lookout(applier, self._tuning.checkpoint_seconds)
        try:
            with self._feeds.after(applier.bookmark) as cursor:
                while self._goes_on():
                    lookout.look()
                    batch = cursor.next_batch(
                        limit=self._tuning.batch_size,
                        timeout=held.seconds_left(),
                        wakes=held.hastened_by,
                    )
                    held.add(batch.events)
                    if batch.caught_up or not cursor.is_caught_up or held.are_due():
                        began = time.monotonic()
                        applier.apply(held.take())
                        held.note_time(time.monotonic() - began)
                    if batch.caught_up:
                        announcements.go_live()
                        self._note_caught_up(applier.position)
                    if batch.caught_up and once:
                        return
        finally:
            announcements.send_late()

    def _goes_on(self) -> bool:
        return not self._stop.is_set() and self._coordinator.is_assigned(self._name)

    def _retry_or_stop(self, failure: EventNotHandled) -> None:
        """Try an event again a few times, then stop there until an operator decides."""
        attempts = self._attempts.at(failure.received.position)
        if attempts < failures.MOST_ATTEMPTS:
            logger.warning("%s; it will be tried again", failure)
            self._recovery.wait()
            return
        try:
            failures.stop(self._name, failure, attempts=attempts)
        except DATABASE_AWAY as loss:
            self._recovery.wait_after(loss)
            return
        self._attempts = failures.Attempts()
        advice = failures.advice(self._name, failure)
        logger.error("%s. %s is stopped: %s", failure, self._name, advice)

    def _wait_for_newer(self, newer: NewerEvent) -> None:
        try:
            failures.stop(self._name, newer, attempts=1)
        except DATABASE_AWAY as loss:
            self._recovery.wait_after(loss)
            return
        words = f"{newer}; waiting: a projector of that version goes on by itself"
        self._tell_of_newer(words, newer.place)
        self._stand_aside()

    def _tell_of_newer(self, words: str, kind: str = "") -> None:
        """Log it, the first time for this kind; where others go on, there may be many."""
        self._is_older = True
        if kind not in self._told:
            self._told.add(kind)
            logger.warning("%s", words)

    def _stand_aside(self) -> None:
        """Leave the projection to projectors that can go on with it, and look again in a while."""
        self._stands_aside = True
        if not self._coordinator.leave_to_others(self._name):
            self._stop.wait(self._tuning.stopped_poll_seconds)

    def _come_back_if_possible(self) -> None:
        try:
            if failures.is_stopped(self._name) or self._rows_are_newer():
                return
        except DATABASE_AWAY:
            return  # The coordinator says so.
        # The next event may be too new again. Whoever got past this one had better go on.
        if self._is_older and self._coordinator.others_can(self._name):
            return
        self._stands_aside = self._is_older = False
        self._coordinator.take_part(self._name)

    def _rows_are_newer(self) -> bool:
        newer = Checkpoint.objects.filter(version__gt=self._projection.version)
        return newer.filter(name=self._name).exists()

    def _wait_for_a_rebuild(self) -> None:
        """Change nothing until the checkpoint fits the event store, or the store the checkpoint."""
        if not self._is_lost:
            logger.error(
                "%s: the event store has another history than the rows. It went back to an older "
                "state, or is another store. Nothing is changed. If this is the right store, "
                "`manage.py rebuild %s`",
                self._name,
                self._name,
            )
        self._is_lost = True
        try:
            self._mark_checkpoint(store_replaced=True)
        except DATABASE_AWAY as loss:
            self._recovery.wait_after(loss)
            return
        self._recovery.end()
        self._stop.wait(self._tuning.stopped_poll_seconds)

    def _mark_checkpoint(self, *, store_replaced: bool) -> None:
        unlike = Checkpoint.objects.filter(name=self._name, store_replaced=not store_replaced)
        if unlike.exists():  # Otherwise SQLite would be locked for nothing.
            unlike.update(store_replaced=store_replaced)

    def _note_caught_up(self, position: int) -> None:
        self._mark_checkpoint(store_replaced=False)
        self._recovery.end()
        logger.info("%s is caught up at %d", self._name, position)
        self._is_lost = False
        self._stands_aside = False
        self._is_first_build = False
