"""Follows the event store and keeps the read models level with it.

One `Follower` per projection: subscription -> batch -> one transaction that moves the checkpoint
and changes rows -> broadcast after the commit. Any number of them may follow the same projection on
the same database: the checkpoint moves by compare-and-swap, so each event changes rows once.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Final
from uuid import UUID

from django.db import connections
from esdbclient import EventStoreDBClient, RecordedEvent
from esdbclient.exceptions import EventStoreDBClientException

from readmodels.backoff import Backoff
from readmodels.batches import (
    DATABASE_AWAY,
    Changes,
    CheckpointMoved,
    EventNotHandled,
    apply_batch,
    read_checkpoint,
)
from readmodels.feed import Feed, Subscription, SubscriptionEnded
from readmodels.projections import Projection

logger = logging.getLogger(__name__)

BATCH_SIZE: Final = 500
POLL_SECONDS: Final = 0.5
PROBE_AFTER_IDLE_SECONDS: Final = 10.0
PROBE_TIMEOUT_SECONDS: Final = 5.0
MOST_LATE_CHANGES: Final = 1_000

Announce = Callable[[Changes], object]


class SubscriptionStalled(Exception):
    """The store has events that the subscription should have delivered by now."""


class RebuildBegun(Exception):
    """The checkpoint went back: someone is building the read model anew."""


EVENT_STORE_AWAY: Final = (EventStoreDBClientException, SubscriptionEnded, SubscriptionStalled)


class Announcements:
    """Tells of changes while live; of those before, once, when history has been caught up with.

    A projector that was away for a moment thus leaves no open page behind. Of a rebuild nothing is
    told, and of a long absence only the last part: pages look again by themselves now and then.
    """

    def __init__(self, announce: Announce, *, is_rebuild: bool) -> None:
        self._announce = announce
        self._is_rebuild = is_rebuild
        self._is_live = False
        self._late: dict[str, set[UUID]] = defaultdict(set)

    def add(self, changes: Changes) -> None:
        """Take in what a commit has changed."""
        if self._is_live:
            self._send(changes)
        elif not self._is_rebuild and len(self._late) < MOST_LATE_CHANGES:
            for group, ids in changes.items():
                self._late[group] |= ids

    def go_live(self) -> None:
        """History has been caught up with."""
        self._is_live = True
        self._send(self._late)
        self._late = {}

    def _send(self, changes: Changes) -> None:
        if changes:
            self._announce(changes)


class Follower:
    """Follows the event store for one projection until `stop` is set.

    `connect` gives the event store's client. `announce` is told after a commit which loan requests
    have changed, for each channel-layer group that wants to know.
    """

    def __init__(
        self,
        projection: Projection,
        *,
        connect: Callable[[], EventStoreDBClient],
        announce: Announce,
        stop: threading.Event,
        batch_size: int = BATCH_SIZE,
    ) -> None:
        self._projection = projection
        self._connect = connect
        self._announce = announce
        self._stop = stop
        self._batch_size = batch_size
        self._backoff = Backoff()
        self._lost = ""
        self._is_rebuild = False  # Until caught up, through losses and new attempts.

    def run(self) -> None:
        """Follow, coming back by itself from whatever goes away."""
        try:
            while not self._stop.is_set():
                self._follow_or_wait()
        finally:
            connections.close_all()

    def catch_up(self) -> None:
        """Apply what the store holds by now, and return.

        Raises:
            EventNotHandled, OperationalError, InterfaceError, EventStoreDBClientException,
            SubscriptionEnded: the first failure.
        """
        self._follow(once=True)

    def _follow_or_wait(self) -> None:
        try:
            self._follow()
        except RebuildBegun:
            logger.info("%s is being rebuilt", self._projection.name)
            self._is_rebuild = True
        except EVENT_STORE_AWAY as error:
            self._lose("the event store", error)
        except DATABASE_AWAY as error:
            self._lose("the database", error)
        except EventNotHandled as error:
            logger.error("%s; it will be tried again", error)
            self._wait()

    def _follow(self, *, once: bool = False) -> None:
        """One subscription's life, from the checkpoint on."""
        position = read_checkpoint(self._projection)
        self._is_rebuild |= position == 0
        announcements = Announcements(self._announce, is_rebuild=self._is_rebuild)
        with Feed(lambda: self._subscribe(position), ahead=2 * self._batch_size) as feed:
            heard_at = time.monotonic()
            while not self._stop.is_set():
                batch = feed.next_batch(limit=self._batch_size, timeout=POLL_SECONDS)
                position, changes = self._apply(batch.events, position)
                announcements.add(changes)
                if batch.caught_up:
                    announcements.go_live()
                    self._note_caught_up(position)
                    self._warn_if_ahead(position)
                if batch.caught_up and once:
                    return
                if batch.events or batch.caught_up:
                    heard_at = time.monotonic()
                elif time.monotonic() - heard_at > PROBE_AFTER_IDLE_SECONDS:
                    self._probe(position)
                    heard_at = time.monotonic()

    def _subscribe(self, position: int) -> Subscription:
        # Without system events, which the client's default filter leaves out.
        return self._connect().subscribe_to_all(
            commit_position=position or None, include_caught_up=True
        )

    def _apply(self, events: Sequence[RecordedEvent], position: int) -> tuple[int, Changes]:
        """Apply what lies after `position`; answers the new position and what has changed."""
        while fresh := [event for event in events if _position(event) > position]:
            try:
                changes = apply_batch(self._projection, fresh, after=position)
            except CheckpointMoved:
                position = self._position_of_others(position)
            else:
                self._backoff.reset()
                return _position(fresh[-1]), changes
        return position, {}

    def _position_of_others(self, position: int) -> int:
        moved_to = read_checkpoint(self._projection)
        if moved_to < position:
            raise RebuildBegun
        return moved_to

    def _probe(self, position: int) -> None:
        """Ask whether the silence is due to there being nothing, or to a subscription that died.

        A connection that breaks without a word leaves a subscription waiting for ever.
        """
        last = self._connect().get_commit_position(timeout=PROBE_TIMEOUT_SECONDS)
        if last > position:
            raise SubscriptionStalled

    def _warn_if_ahead(self, position: int) -> None:
        # Only where the store's events were replaced, as by restoring an older backup.
        last = self._connect().get_commit_position(timeout=PROBE_TIMEOUT_SECONDS)
        if position > last:
            logger.warning(
                "%s is at %d, ahead of the event store's last event at %d: is it another store? "
                "Rebuild the read model.",
                self._projection.name,
                position,
                last,
            )

    def _lose(self, what: str, error: Exception) -> None:
        if not self._lost:
            name = self._projection.name
            logger.warning("%s lost %s (%s)", name, what, type(error).__qualname__)
        self._lost = what
        self._wait()

    def _wait(self) -> None:
        # Connections that broke are not used again.
        connections.close_all()
        self._stop.wait(self._backoff.next_delay())

    def _note_caught_up(self, position: int) -> None:
        if self._lost:
            logger.info("%s regained %s", self._projection.name, self._lost)
        logger.info("%s is caught up at %d", self._projection.name, position)
        self._lost = ""
        self._is_rebuild = False
        self._backoff.reset()


def _position(event: RecordedEvent) -> int:
    assert event.commit_position is not None, "events of $all have a position"
    return event.commit_position
