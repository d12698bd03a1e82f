"""Rebuilds a read model in a table of its own, while pages read the old one.

When the new rows have caught up with the live ones, their table takes the place of the old one in
one short transaction. An interrupted rebuild can be resumed.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

from django.db import connections

from loans.adapters.codec import can_read
from readmodels.database import read_models_transaction
from readmodels.models import Checkpoint, Failure, Progress, Rebuild
from readmodels.projections import Projection
from readmodels.projector import failures
from readmodels.projector.batches import (
    DATABASE_AWAY,
    Applier,
    Changes,
    CheckpointGone,
    CheckpointWentBack,
    EventNotHandled,
    NewerEvent,
    NewerVersionIsLive,
)
from readmodels.projector.bookmarks import Bookmark, StoreReplaced
from readmodels.projector.coordination.advisory_locks import only_one
from readmodels.projector.feeds import EVENT_STORE_AWAY, FeedCursor, Feeds
from readmodels.projector.recovery import Recovery
from readmodels.projector.tables import build_table, create_if_absent, drop_if_present, put_in_place
from readmodels.projector.tuning import DEFAULT, Tuning

logger = logging.getLogger(__name__)


class RebuildRunsElsewhere(Exception):
    """Another process rebuilds the same read model, or has just finished or dropped it."""


class RebuildStopped(Exception):
    """The rebuild cannot handle an event. The message names it, and what an operator can do."""


class RebuildInterrupted(Exception):
    """The rebuild was told to stop before it was done; it can be resumed."""


@dataclass(frozen=True)
class Advance:
    """The progress of a rebuild: events in all, the commit position, and events per second."""

    events: int
    position: int
    pace: float


def lock_name(name: str) -> str:
    """The name of the lock that a process holds while it rebuilds this projection."""
    return f"rebuild {name}"


def needs_rebuild(projection: Projection) -> bool:
    """Whether an older version built the live rows, or left out what this one can read."""
    checkpoint = Checkpoint.objects.filter(name=projection.name).first()
    if checkpoint is None or checkpoint.version > projection.version:
        return False
    return checkpoint.version < projection.version or _lacks_something(checkpoint)


def _lacks_something(progress: Progress) -> bool:
    return any(can_read(event_type, version) for event_type, version in progress.left_out or ())


def drop(projection: Projection) -> bool:
    """Drop a rebuild that is not done; returns whether there was one."""
    with read_models_transaction():
        rebuild = Rebuild.objects.select_for_update().filter(name=projection.name).first()
        if rebuild is None:
            return False
        drop_if_present(build_table(projection.model, rebuild.build))
        rebuild.delete()
        Failure.objects.filter(name=projection.name, in_rebuild=True).delete()
        return True


def begin_or_resume(projection: Projection, *, to_older: bool = False) -> Rebuild:
    """The rebuild that is under way, or a new one, with its table.

    Raises:
        NewerVersionIsLive: unless `to_older` permits replacing a newer version's rows.
    """
    with read_models_transaction():
        checkpoint = _locked_checkpoint(projection, to_older=to_older)
        rebuild = Rebuild.objects.filter(name=projection.name).first()
        if rebuild is not None and (
            rebuild.version != projection.version or _lacks_something(rebuild)
        ):
            drop(projection)
            rebuild = None
        if rebuild is None:
            checkpoint.builds += 1
            checkpoint.save(update_fields=["builds"])
            rebuild = Rebuild.objects.create(
                name=projection.name, version=projection.version, build=checkpoint.builds
            )
    if create_if_absent(build_table(projection.model, rebuild.build)) and rebuild.position:
        # Somebody has dropped the table.
        rebuild.position, rebuild.events = 0, 0
        rebuild.save()
    return rebuild


def switch(
    projection: Projection, finish: Callable[[int], bool], *, to_older: bool = False
) -> bool:
    """Replace the live rows by the rebuilt ones; returns whether that was done.

    The live rows' checkpoint is locked meanwhile. `finish` is called with its position, and must
    bring the rebuild there, or return false: then nothing is replaced.

    Raises:
        NewerVersionIsLive: unless `to_older` permits replacing a newer version's rows.
        CheckpointGone: there is no rebuild.
        OperationalError: somebody reads the old rows for too long; it can be tried again.
    """
    with read_models_transaction():
        # First, because it locks the row: from here on no projector changes the live rows.
        checkpoint = _locked_checkpoint(projection, to_older=to_older)
        if not finish(checkpoint.position):
            return False
        rebuild = Rebuild.objects.filter(name=projection.name).first()
        if rebuild is None:
            raise CheckpointGone
        put_in_place(build_table(projection.model, rebuild.build), projection.model)
        moved = {
            **Bookmark.of(rebuild).columns,
            "version": rebuild.version,
            "events": rebuild.events,
            "events_per_second": rebuild.events_per_second,
            "left_out": rebuild.left_out,
            "store_replaced": False,
        }
        for name, value in moved.items():
            setattr(checkpoint, name, value)
        checkpoint.save()
        rebuild.delete()
        Failure.objects.filter(name=projection.name).delete()
    logger.info("%s is built anew, and live at %d", projection.name, checkpoint.position)
    return True


def _locked_checkpoint(projection: Projection, *, to_older: bool) -> Checkpoint:
    checkpoint, _ = Checkpoint.objects.select_for_update().get_or_create(
        name=projection.name, defaults={"version": projection.version}
    )
    if checkpoint.version > projection.version and not to_older:
        raise NewerVersionIsLive
    return checkpoint


class Rebuilder:
    """Rebuilds one projection, until the new rows are live or `stop` is set.

    `advanced` is called after each batch. `to_older` permits replacing a newer version's rows, and
    going on without the events that only a newer version can read.
    """

    def __init__(
        self,
        projection: Projection,
        *,
        feeds: Feeds,
        stop: threading.Event,
        advanced: Callable[[Advance], object] = lambda advance: None,
        to_older: bool = False,
        tuning: Tuning = DEFAULT,
    ) -> None:
        self._projection = projection
        self._name = projection.name
        self._feeds = feeds
        self._stop = stop
        self._advanced = advanced
        self._to_older = to_older
        self._tuning = tuning
        self._attempts = failures.Attempts()
        self._of = f"The rebuild of {projection.name}"
        self._recovery = Recovery(self._of, stop=stop, backoff=tuning.backoff())

    def run(self) -> None:
        """Rebuild, and try again after any loss.

        Raises:
            RebuildRunsElsewhere: another process rebuilds it, or has just finished or dropped it.
            RebuildStopped: until an operator decides how to go on.
            RebuildInterrupted: `stop` was set.
            NewerVersionIsLive: and `to_older` is not set.
        """
        try:
            with only_one(lock_name(self._name)) as is_alone:
                if not is_alone:
                    raise RebuildRunsElsewhere
                while not self._is_done():
                    if self._stop.is_set():
                        raise RebuildInterrupted
        finally:
            connections.close_all()

    def run_if_needed(self) -> None:
        """Rebuild if an older version's rows are live. Raises as `run` does."""
        if needs_rebuild(self._projection):
            logger.info("%s is built anew, as version %d", self._name, self._projection.version)
            self.run()

    def run_until_not_needed(self) -> None:
        """Rebuild if an older version's rows are live; wait and try again whatever goes wrong."""
        while not self._stop.is_set():
            try:
                self.run_if_needed()
            except RebuildRunsElsewhere:
                self._stop.wait(self._tuning.stopped_poll_seconds)
            except RebuildStopped as error:
                logger.error("%s", error)
                self._wait_while_stopped()
            except DATABASE_AWAY:
                self._recovery.wait()
            except (RebuildInterrupted, NewerVersionIsLive):
                return
            else:
                return

    def _wait_while_stopped(self) -> None:
        while not self._stop.wait(self._tuning.stopped_poll_seconds):
            with contextlib.suppress(*DATABASE_AWAY):
                if not failures.is_stopped(self._name, in_rebuild=True):
                    return

    def _is_done(self) -> bool:
        try:
            return self._build()
        except CheckpointGone:
            raise RebuildRunsElsewhere from None
        except CheckpointWentBack:
            pass  # Another process found the table gone and began anew: so does the next attempt.
        except StoreReplaced:
            self._begin_anew()
        except (*EVENT_STORE_AWAY, *DATABASE_AWAY) as loss:
            self._recovery.wait_after(loss)
        except NewerEvent as newer:
            self._stop_at(newer, "rebuild with that version, or go back with --older-version")
        except EventNotHandled as failure:
            self._retry_or_stop(failure)
        return False

    def _begin_anew(self) -> None:
        """Drop what was built from the events of another store."""
        logger.warning("%s begins anew: the event store has another history", self._of)
        with contextlib.suppress(*DATABASE_AWAY):
            drop(self._projection)
        self._recovery.wait()

    def _build(self) -> bool:
        """Go on from the rebuild's checkpoint; returns whether the new rows are live."""
        rebuild = begin_or_resume(self._projection, to_older=self._to_older)
        events = rebuild.events
        passing = failures.Passing(self._name, in_rebuild=True)

        def committed(position: int, changes: Changes) -> None:
            self._recovery.end()
            passing.reached(position)

        applier = Applier.of_rebuild(
            self._projection, rebuild, committed, leave_out_newer=self._to_older
        )
        with self._feeds.after(applier.bookmark) as cursor:
            while not self._stop.is_set():
                batch = cursor.next_batch(
                    limit=self._tuning.batch_size, timeout=self._tuning.poll_seconds
                )
                if batch.events:
                    applier.apply(batch.events)
                    events += len(batch.events)
                    self._advanced(Advance(events, applier.position, applier.pace))
                if cursor.is_caught_up and self._switch(applier, cursor):
                    return True
        return False

    def _switch(self, applier: Applier, cursor: FeedCursor) -> bool:
        lost = self._lost_live_position(applier.position)
        most_seconds = self._tuning.finish_seconds

        def finish(live: int) -> bool:
            # Applies the last events of the live rows. Otherwise a rebuild would never catch up
            # with rows that change all the time.
            give_up_at = time.monotonic() + most_seconds
            while applier.position < live != lost and time.monotonic() < give_up_at:
                batch = cursor.next_batch(limit=self._tuning.batch_size, timeout=most_seconds / 10)
                if batch.events:
                    applier.apply(batch.events)
            return applier.position >= live or live == lost

        return switch(self._projection, finish, to_older=self._to_older)

    def _lost_live_position(self, position: int) -> int | None:
        """The live rows' position, if it is not to be reached: it is that of another store."""
        live = Bookmark.of(Checkpoint.objects.get(name=self._name))
        if position >= live.position:
            return None
        try:
            self._feeds.source.check(live)
        except StoreReplaced:
            return live.position
        return None

    def _retry_or_stop(self, failure: EventNotHandled) -> None:
        attempts = self._attempts.at(failure.received.position)
        if attempts < failures.MOST_ATTEMPTS:
            self._recovery.wait()
            return
        advice = failures.advice(self._name, failure)
        self._stop_at(failure, f"{advice}; then rebuild again", attempts=attempts)

    def _stop_at(self, failure: EventNotHandled, advice: str, *, attempts: int = 1) -> NoReturn:
        failures.stop(self._name, failure, attempts=attempts, in_rebuild=True)
        raise RebuildStopped(f"{failure}. The rebuild is stopped: {advice}") from None
