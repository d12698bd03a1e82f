"""Applies batches of events to a projection's rows and moves its checkpoint, in one transaction."""

from __future__ import annotations

import time
from bisect import bisect_right
from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Self
from uuid import UUID

from django.db import Error
from django.db.models import Model, QuerySet
from django.utils import timezone

from lepret.common.databases import is_away
from lepret.common.error_places import type_and_place
from lepret.common.moments import oldest
from loans.adapters.codec import PROJECTED_EVENTS, WrittenByNewerVersion
from readmodels.database import read_models_transaction
from readmodels.models import Checkpoint, Progress, Rebuild, SkippedEvent
from readmodels.projections import Projection, statements
from readmodels.projections.rows import Rows
from readmodels.projector.bookmarks import Bookmark
from readmodels.projector.received import Received
from readmodels.projector.tables import build_table

# Undefined table or column: not migrated yet.
_TRANSIENT_SQLSTATES: Final = {"42P01", "42703"}


class NewerVersionIsLive(Exception):
    """The live rows were built by a newer version of the projection than this one."""


class DatabaseAway(Exception):
    """The database is gone, full, locked or not ready. This is temporary and no event's fault."""


DATABASE_AWAY: Final = (DatabaseAway, Error)


class CheckpointGone(Exception):
    """The checkpoint does not exist any more: a rebuild was finished or dropped."""


class CheckpointWentBack(Exception):
    """The checkpoint is at an earlier position than before: an older database was restored."""


class EventNotHandled(Exception):
    """A projection could not handle an event. The message does not quote the event's data."""

    def __init__(self, name: str, received: Received, error: Exception) -> None:
        recorded = received.recorded
        self.received = received
        self.place = type_and_place(error)
        super().__init__(
            f"{name} cannot handle {recorded.type} {recorded.id} at {received.position}: "
            f"{self.place}"
        )


class NewerEvent(EventNotHandled):
    """Only a newer version of the program can read an event that may concern the projection."""

    def __init__(self, name: str, received: Received, error: WrittenByNewerVersion) -> None:
        super().__init__(name, received, error)
        self.schema_version = error.version
        self.place = f"written by a newer version of the program (schema {error.version})"
        event = f"{error.event_type} {received.recorded.id} at {received.position}"
        self.args = (f"{name}: {event} was {self.place}",)


@dataclass(frozen=True)
class Changes:
    """The loan requests that a batch has changed, for each channel-layer group.

    `recorded_at` is when the oldest of the events that changed them was recorded.
    """

    groups: Mapping[str, set[UUID]] = field(default_factory=dict)
    recorded_at: datetime | None = None

    def __bool__(self) -> bool:
        return bool(self.groups)

    def __or__(self, other: Self) -> Changes:
        groups = {name: set(ids) for name, ids in self.groups.items()}
        for name, ids in other.groups.items():
            groups.setdefault(name, set()).update(ids)
        return Changes(groups, oldest(self.recorded_at, other.recorded_at))

    @property
    def count(self) -> int:
        """How many loan requests, counted once for each group."""
        return sum(len(ids) for ids in self.groups.values())


Committed = Callable[[int, Changes], object]


def _ignore(position: int, changes: Changes) -> None:
    """Announce nothing."""


class Applier:
    """Applies events to a projection's rows in a table, from that table's checkpoint on.

    Several appliers may do so at once, in any number of processes. `committed` is called after each
    commit with the new position and with what has changed.
    """

    def __init__(
        self,
        projection: Projection,
        table: type[Model],
        progress: Progress,
        row: Mapping[str, Any],
        committed: Committed,
    ) -> None:
        self._projection = projection
        self._table = table
        self._kept_in = type(progress)
        self._row = row
        self._events = progress.events
        self._committed = committed
        self._skipped = frozenset(
            SkippedEvent.objects.filter(name=projection.name).values_list("position", "event_id")
        )
        self._left_out: set[tuple[str, int]] | None = None  # `None`: leave nothing out.
        self._recent = Pace()
        self.bookmark = Bookmark.of(progress)
        """The last event that was applied."""
        self.pace = 0.0
        """Events per second."""

    @classmethod
    def live(cls, projection: Projection, committed: Committed = _ignore) -> Self:
        """For the table that pages read.

        Raises:
            NewerVersionIsLive: this version must not write to that table.
        """
        checkpoint, _ = Checkpoint.objects.get_or_create(
            name=projection.name, defaults={"version": projection.version}
        )
        if checkpoint.version > projection.version:
            raise NewerVersionIsLive
        # Filtered by version: once a newer one is live, an older one changes nothing.
        row = {"name": projection.name, "version": checkpoint.version}
        return cls(projection, projection.model, checkpoint, row, committed)

    @classmethod
    def of_rebuild(
        cls,
        projection: Projection,
        rebuild: Rebuild,
        committed: Committed = _ignore,
        *,
        leave_out_newer: bool = False,
    ) -> Self:
        """For the table of a rebuild.

        With `leave_out_newer` it goes on without events that only a newer version can read, and
        notes which; a version that can read them then builds the rows anew.
        """
        table = build_table(projection.model, rebuild.build)
        row = {"name": rebuild.name, "build": rebuild.build}
        applier = cls(projection, table, rebuild, row, committed)
        if leave_out_newer:
            applier._left_out = {(kind, version) for kind, version in rebuild.left_out or ()}
        return applier

    @property
    def position(self) -> int:
        """The commit position of the last event that was applied."""
        return self.bookmark.position

    def apply(self, events: Sequence[Received]) -> None:
        """Apply the events after the position, in as few transactions as possible.

        If one of them cannot be handled, those before it are applied.

        Raises:
            EventNotHandled, DatabaseAway, CheckpointGone, CheckpointWentBack.
        """
        try:
            self._apply_batch(events)
        except EventNotHandled:
            if len(events) == 1:
                raise
            middle = len(events) // 2
            self.apply(events[:middle])
            self.apply(events[middle:])

    def refresh(self) -> None:
        """Read the position again, since another process may have moved it.

        Raises:
            CheckpointGone, CheckpointWentBack.
        """
        progress = self._checkpoint().first()
        if progress is None:
            raise CheckpointGone
        if progress.position < self.position:
            raise CheckpointWentBack
        self.bookmark = Bookmark.of(progress)
        self._events = progress.events

    def _checkpoint(self) -> QuerySet[Progress]:
        return self._kept_in._default_manager.filter(**self._row)

    def _apply_batch(self, events: Sequence[Received]) -> None:
        while fresh := _after(self.position, events):
            self.pace = self._recent.with_more(len(fresh))
            changes = self._commit(fresh)
            if changes is None:
                self.refresh()
            else:
                self.bookmark = Bookmark.at(fresh[-1].recorded)
                self._events += len(fresh)
                self._committed(self.position, changes)

    def _commit(self, events: Sequence[Received]) -> Changes | None:
        """Apply all events; or none, and return `None`, if another process moved the checkpoint."""
        try:
            # Before the transaction: on SQLite, everybody else who writes waits for its end. Rows
            # that are read here have not changed since, or the checkpoint has moved with them.
            rows, changes = self._changed(events)
            return changes if self._write(rows, events) else None
        except EventNotHandled:
            raise
        except Exception as error:
            if is_transient(error):
                raise DatabaseAway(type(error).__qualname__) from error
            # Of several events, `apply` finds out which it was by applying fewer of them.
            raise EventNotHandled(self._projection.name, events[0], error) from None

    def _write(self, rows: Rows[Any], events: Sequence[Received]) -> bool:
        """Write rows, unless another process moved the checkpoint; returns whether they were."""
        with read_models_transaction():
            # First, because it locks the row: another projector waits here.
            if not self._move_checkpoint(events):
                return False
            rows.write()
            return True

    def _move_checkpoint(self, events: Sequence[Received]) -> bool:
        moved = Bookmark.at(events[-1].recorded).columns | {
            "moved_at": timezone.now(),
            "events": self._events + len(events),
            "events_per_second": self.pace,
        }
        return statements.update_one(self._kept_in, moved, {**self._row, "position": self.position})

    def _changed(self, events: Sequence[Received]) -> tuple[Rows[Any], Changes]:
        """The rows as events change them, not written yet."""
        rows: Rows[Any] = Rows(self._table)
        changed: list[Received] = []
        skipped = self._skipped
        if self._projection.keeps_revisions:
            _set_revisions(rows, events)
        for received in events:
            if not self._may_concern(received):
                continue
            if skipped and (received.position, received.recorded.id) in skipped:
                continue
            before = rows.changes
            self._handle(received, rows)
            if rows.changes > before:
                changed.append(received)
        return rows, self._changes(changed)

    def _may_concern(self, received: Received) -> bool:
        event_type = received.recorded.type
        if event_type in self._projection.takes:
            return received.is_ours
        # The newer version's projection may take it. The first condition is there for its speed.
        return event_type not in PROJECTED_EVENTS and received.is_of_newer_type

    def _handle(self, received: Received, rows: Rows[Any]) -> None:
        try:
            self._projection.handle(received.event, rows)
        except WrittenByNewerVersion as error:
            self._leave_out(received, error)
        except Exception as error:
            if is_transient(error):
                raise
            # `from None`: the original may quote an applicant's data.
            raise EventNotHandled(self._projection.name, received, error) from None

    def _leave_out(self, received: Received, error: WrittenByNewerVersion) -> None:
        if self._left_out is None:
            raise NewerEvent(self._projection.name, received, error) from None
        if (kind := (error.event_type, error.version)) not in self._left_out:
            self._left_out.add(kind)
            self._checkpoint().update(left_out=sorted(self._left_out))

    def _changes(self, changed: Sequence[Received]) -> Changes:
        group_of = self._projection.group
        if group_of is None or not changed:
            return Changes()
        groups: dict[str, set[UUID]] = defaultdict(set)
        for loan_request_id in {received.event.id for received in changed}:
            groups[group_of(loan_request_id)].add(loan_request_id)
        return Changes(groups, changed[0].recorded.recorded_at)


def _after(position: int, events: Sequence[Received]) -> Sequence[Received]:
    """The events after a position; they are in order."""
    return events[bisect_right(events, position, key=lambda each: each.position) :]


def is_transient(error: Exception) -> bool:
    """Whether an error is due to the state of the database, and not to an event."""
    return is_away(error) or getattr(error.__cause__, "sqlstate", "") in _TRANSIENT_SQLSTATES


class Concern:
    """Tells which of the events that follow each other concern a projection.

    That is those that may change its rows, and not only its checkpoint.
    """

    def __init__(self, projection: Projection) -> None:
        self._projection = projection
        self._began_here: set[UUID] = set()

    def includes(self, received: Received) -> bool:
        """Whether this event, or its like, concerns it. To ask twice changes nothing."""
        if received.recorded.type in self._projection.takes and received.is_ours:
            return True
        loan_request_id = received.loan_request_id if self._projection.keeps_revisions else None
        if loan_request_id is None or loan_request_id in self._began_here:
            return False
        if received.recorded.stream_position != 0:
            return True
        # There is no row yet of a request that begins here.
        self._began_here.add(loan_request_id)
        return False


def _set_revisions(rows: Rows[Any], events: Sequence[Received]) -> None:
    # Every event in a request's stream counts, also one that is skipped or changes nothing:
    # a decision that was made without it was made on an outdated revision.
    for received in events:
        loan_request_id = received.loan_request_id
        if loan_request_id is not None:
            rows.revise(loan_request_id, received.recorded.stream_position)


class Pace:
    """Events per second, over the last ten seconds."""

    SECONDS: Final = 10.0

    def __init__(self) -> None:
        self._counted: deque[tuple[float, int]] = deque()
        self._sum = 0

    def with_more(self, count: int) -> float:
        """Add `count` events that were applied now; returns events per second."""
        now = time.monotonic()
        self._counted.append((now, count))
        self._sum += count
        while now - self._counted[0][0] > self.SECONDS:
            self._sum -= self._counted.popleft()[1]
        # Right after the first events, no time has passed to divide by.
        return self._sum / max(now - self._counted[0][0], 1.0)
