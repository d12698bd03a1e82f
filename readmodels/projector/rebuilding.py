"""Builds a read model's rows anew, beside those that pages read, and puts them in their place.

The new rows have a table of their own, in which nobody looks. When they are level, that table takes
the place of the old one in one short transaction. A build that breaks off goes on where it was.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from django.db import connections

from lepret.common.backoff import Backoff
from readmodels.database import read_models_transaction
from readmodels.models import Checkpoint, Failure, Rebuild
from readmodels.projections import Projection
from readmodels.projector import failures
from readmodels.projector.applier import Applier, TargetGone, WentBack
from readmodels.projector.batches import EventNotHandled, NewerVersionIsLive, Target
from readmodels.projector.coordination.advisory_locks import only_one
from readmodels.projector.feeds import EVENT_STORE_AWAY, Cursor, Feeds
from readmodels.projector.follower import (
    BATCH_SIZE,
    DATABASE_AWAY,
    POLL_SECONDS,
    STOPPED_POLL_SECONDS,
)
from readmodels.projector.tables import build_table, create_if_absent, drop_if_present, put_in_place

logger = logging.getLogger(__name__)

# How long the live rows stand still, at most, for the new ones to come level.
FINISH_SECONDS: Final = 1.0


class RebuildRunsElsewhere(Exception):
    """Another process builds the same read model, or did so until now."""


class RebuildStopped(Exception):
    """The build stands still before an event that it cannot handle. Says which, and what to do."""


class RebuildInterrupted(Exception):
    """The build was told to stop before it was done; it can go on later."""


@dataclass(frozen=True)
class Advance:
    """How far a build has come: events in all, the commit position, and events per second."""

    events: int
    position: int
    pace: float


def lock_name(name: str) -> str:
    """What a process has locked that rebuilds the projection of this name."""
    return f"rebuild {name}"


def needs_rebuild(projection: Projection) -> bool:
    """Whether the live rows were built by an older version of the projection."""
    return Checkpoint.objects.filter(name=projection.name, version__lt=projection.version).exists()


def drop(projection: Projection) -> bool:
    """Give up a build that is not done; answers whether there was one."""
    with read_models_transaction():
        rebuild = Rebuild.objects.select_for_update().filter(name=projection.name).first()
        if rebuild is None:
            return False
        drop_if_present(build_table(projection.model, rebuild.build))
        rebuild.delete()
        Failure.objects.filter(name=projection.name, in_rebuild=True).delete()
        return True


def begin_or_resume(projection: Projection, *, to_older: bool = False) -> Rebuild:
    """The build that is under way, or a new one, with its table.

    `to_older`: also where a newer version's rows are live.

    Raises:
        NewerVersionIsLive: this version's rows would be a step back.
    """
    with read_models_transaction():
        checkpoint = _locked_checkpoint(projection, to_older=to_older)
        rebuild = Rebuild.objects.filter(name=projection.name).first()
        if rebuild is not None and rebuild.version != projection.version:
            drop(projection)
            rebuild = None
        if rebuild is None:
            checkpoint.builds += 1
            checkpoint.save(update_fields=["builds"])
            rebuild = Rebuild.objects.create(
                name=projection.name, version=projection.version, build=checkpoint.builds
            )
    if create_if_absent(build_table(projection.model, rebuild.build)) and rebuild.position:
        # Someone has taken the table away.
        rebuild.position, rebuild.events = 0, 0
        rebuild.save()
    return rebuild


def switch(
    projection: Projection, finish: Callable[[int], bool], *, to_older: bool = False
) -> bool:
    """Put what was built in the place of the live rows; answers whether it was done.

    `finish` is given the position of the live rows, which stands still meanwhile, and has to bring
    the build there, or to answer that it could not: then nothing is switched. `to_older`: also
    where a newer version's rows are live.

    Raises:
        NewerVersionIsLive: this version's rows would be a step back.
        TargetGone: there is no build.
        OperationalError: somebody reads the old rows for too long; it can be tried again.
    """
    with read_models_transaction():
        # First, because it locks the row: from here on nobody changes the live rows.
        checkpoint = _locked_checkpoint(projection, to_older=to_older)
        if not finish(checkpoint.position):
            return False
        rebuild = Rebuild.objects.filter(name=projection.name).first()
        if rebuild is None:
            raise TargetGone
        put_in_place(build_table(projection.model, rebuild.build), projection.model)
        for moved in ("version", "position", "recorded_at", "events", "events_per_second"):
            setattr(checkpoint, moved, getattr(rebuild, moved))
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
    """Builds one projection's rows anew, until they are live or `stop` is set.

    `advanced` is told after each batch how far it has come. `to_older`: also where a newer
    version's rows are live.
    """

    def __init__(
        self,
        projection: Projection,
        *,
        feeds: Feeds,
        stop: threading.Event,
        advanced: Callable[[Advance], object] = lambda advance: None,
        to_older: bool = False,
        batch_size: int = BATCH_SIZE,
    ) -> None:
        self._projection = projection
        self._name = projection.name
        self._feeds = feeds
        self._stop = stop
        self._advanced = advanced
        self._to_older = to_older
        self._batch_size = batch_size
        self._attempts = failures.Attempts()
        self._backoff = Backoff()
        self._waits_because_of = ""

    def run(self) -> None:
        """Build, coming back by itself from whatever goes away.

        Raises:
            RebuildRunsElsewhere: somebody else builds it, has finished it, or has dropped it.
            RebuildStopped: until someone says how to go on.
            RebuildInterrupted: `stop` was set.
            NewerVersionIsLive: this version's rows would be a step back.
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
        """Build if an older version's rows are live. Raises as `run` does."""
        if needs_rebuild(self._projection):
            logger.info("%s is built anew, as version %d", self._name, self._projection.version)
            self.run()

    def run_until_not_needed(self) -> None:
        """Build if an older version's rows are live, whatever comes in between, and return."""
        while not self._stop.is_set():
            try:
                self.run_if_needed()
            except RebuildRunsElsewhere:
                self._stop.wait(STOPPED_POLL_SECONDS)
            except RebuildStopped as error:
                logger.error("%s", error)
                self._wait_until_told()
            except DATABASE_AWAY:
                self._stop.wait(self._backoff.next_delay())
            except (RebuildInterrupted, NewerVersionIsLive):
                return
            else:
                return

    def _wait_until_told(self) -> None:
        while not self._stop.wait(STOPPED_POLL_SECONDS):
            # Until it is known, nobody has said so.
            with contextlib.suppress(*DATABASE_AWAY):
                if not failures.is_stopped(self._name, in_rebuild=True):
                    return

    def _is_done(self) -> bool:
        try:
            return self._build()
        except TargetGone:
            # Somebody else put it in place, or dropped it.
            raise RebuildRunsElsewhere from None
        except WentBack:
            pass  # Somebody else found its table gone, and began it anew: so does the next attempt.
        except (*EVENT_STORE_AWAY, *DATABASE_AWAY) as error:
            self._wait_because_of(type(error).__qualname__)
        except EventNotHandled as error:
            self._stumble(error)
        return False

    def _wait_because_of(self, kind: str) -> None:
        if kind != self._waits_because_of:
            logger.warning("The rebuild of %s waits (%s)", self._name, kind)
        self._waits_because_of = kind
        connections.close_all()
        self._stop.wait(self._backoff.next_delay())

    def _build(self) -> bool:
        """Build on from where the build is; answers whether the new rows are live."""
        rebuild = begin_or_resume(self._projection, to_older=self._to_older)
        target = Target.of_rebuild(self._projection, rebuild)
        events = rebuild.events

        def committed(position: int, changes: object) -> None:
            self._backoff.reset()
            self._waits_because_of = ""

        applier = Applier(target, committed)
        with self._feeds.after(target.position) as cursor:
            while not self._stop.is_set():
                batch = cursor.next_batch(limit=self._batch_size, timeout=POLL_SECONDS)
                if batch.events:
                    applier.apply(batch.events)
                    events += len(batch.events)
                    self._advanced(Advance(events, applier.position, applier.pace))
                if cursor.is_caught_up and self._take_its_place(applier, cursor):
                    return True
        return False

    def _take_its_place(self, applier: Applier, cursor: Cursor) -> bool:
        beyond_the_end = self._live_position_beyond_the_end(applier.position)

        def finish(live: int) -> bool:
            # What the live rows have seen a moment ago: without it, a build beside rows that never
            # stand still would not come level.
            give_up_at = time.monotonic() + FINISH_SECONDS
            while applier.position < live != beyond_the_end and time.monotonic() < give_up_at:
                batch = cursor.next_batch(limit=self._batch_size, timeout=FINISH_SECONDS / 10)
                if batch.events:
                    applier.apply(batch.events)
            return applier.position >= live or live == beyond_the_end

        return switch(self._projection, finish, to_older=self._to_older)

    def _live_position_beyond_the_end(self, position: int) -> int | None:
        """Where the live rows are, if no event is there, as after restoring an older store."""
        live = Checkpoint.objects.get(name=self._name).position
        if position >= live or live <= self._feeds.source.last_position():
            return None
        return live

    def _stumble(self, error: EventNotHandled) -> None:
        attempts = self._attempts.at(error.received.position)
        if attempts < failures.MOST_ATTEMPTS:
            self._stop.wait(self._backoff.next_delay())
            return
        failures.stop(self._name, error, attempts=attempts, in_rebuild=True)
        advice = failures.how_to_go_on(self._name, error)
        raise RebuildStopped(
            f"{error}. The rebuild is stopped: {advice}; then rebuild again"
        ) from None
