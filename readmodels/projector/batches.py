"""Applies a batch of events to a projection's rows: these and how far they have come, at once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Self
from uuid import UUID

from django.db import (
    DatabaseError,
    InterfaceError,
    OperationalError,
)
from django.db.models import F, Model, QuerySet
from django.utils import timezone

from lepret.common.error_places import type_and_place
from lepret.common.moments import oldest
from readmodels.database import read_models_transaction
from readmodels.models import Checkpoint, Progress, Rebuild, SkippedEvent
from readmodels.projections import Projection
from readmodels.projections.rows import Rows
from readmodels.projector.received import Received
from readmodels.projector.tables import build_table

# Undefined table or column (not migrated yet), read-only transaction (a server that is no leader).
_SQLSTATES_THAT_PASS: Final = {"42P01", "42703", "25006"}


class CheckpointMoved(Exception):
    """Someone else moved the checkpoint; the batch was rolled back."""


class NewerVersionIsLive(Exception):
    """The live rows were built by a newer version of the projection than this one."""


class DatabaseAway(Exception):
    """The database is gone, full, locked or not ready: it will pass, and is no event's fault."""


class BatchRefused(Exception):
    """The database refused what one of several events changes; they must be applied one by one."""


class EventNotHandled(Exception):
    """A projection could not handle an event. Names it, and nothing of what it says."""

    def __init__(self, name: str, received: Received, error: Exception) -> None:
        recorded = received.recorded
        self.received = received
        self.place = type_and_place(error)
        super().__init__(
            f"{name} cannot handle {recorded.type} {recorded.id} at {received.position}: "
            f"{self.place}"
        )


@dataclass(frozen=True)
class Changes:
    """What a batch has changed: for each channel-layer group, which loan requests.

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


@dataclass(frozen=True)
class Target:
    """Where a projection's rows go, and where it is noted how far they have come.

    That is the read model's own table, or one that is being built to take its place. `position` is
    how far it had come when this was read.
    """

    projection: Projection
    table: type[Model]
    progress: QuerySet[Any]
    position: int
    skipped: frozenset[tuple[int, UUID]]

    @classmethod
    def live(cls, projection: Projection) -> Self:
        """The table that pages read.

        Raises:
            NewerVersionIsLive: it is not for this version to write there.
        """
        checkpoint, _ = Checkpoint.objects.get_or_create(
            name=projection.name, defaults={"version": projection.version}
        )
        if checkpoint.version > projection.version:
            raise NewerVersionIsLive
        # With the version: from the moment a newer one is live, an older one changes nothing.
        progress = Checkpoint.objects.filter(name=projection.name, version=checkpoint.version)
        skipped = skipped_events(projection.name)
        return cls(projection, projection.model, progress, checkpoint.position, skipped)

    @classmethod
    def of_rebuild(cls, projection: Projection, rebuild: Rebuild) -> Self:
        """The table of a build."""
        table = build_table(projection.model, rebuild.build)
        progress = Rebuild.objects.filter(name=rebuild.name, build=rebuild.build)
        skipped = skipped_events(projection.name)
        return cls(projection, table, progress, rebuild.position, skipped)

    def read_progress(self) -> Progress | None:
        """How far it has come by now; `None` where it is no more."""
        progress: Progress | None = self.progress.first()
        return progress


def skipped_events(name: str) -> frozenset[tuple[int, UUID]]:
    """The positions and ids of the events that a projection leaves out."""
    skipped = SkippedEvent.objects.filter(name=name)
    return frozenset(skipped.values_list("position", "event_id"))


def apply_batch(
    target: Target, events: Sequence[Received], *, after: int, pace: float = 0.0
) -> Changes:
    """Apply `events` and move the checkpoint from `after` to the last of them, or do nothing.

    `pace`, in events per second, is noted beside the position.

    Raises:
        CheckpointMoved: the checkpoint is not at `after` any more.
        EventNotHandled: the handler raised, or the database refused what a single event changes.
        BatchRefused: the database refused what one of several events changes.
        DatabaseAway: it will pass.
    """
    try:
        with read_models_transaction():
            # First, because it locks the row: another projector waits here and then finds that it
            # has moved, rather than doing the same work to see it rolled back.
            _move_checkpoint(target, events, after=after, pace=pace)
            return _change_rows(target, events)
    except (EventNotHandled, CheckpointMoved):
        raise
    except Exception as error:
        if will_pass(error):
            raise DatabaseAway(type(error).__qualname__) from error
        if len(events) > 1:
            raise BatchRefused from error
        raise EventNotHandled(target.projection.name, events[0], error) from None


def will_pass(error: Exception) -> bool:
    """Whether an error is of the database's state, and not of what it was asked to do."""
    if isinstance(error, OperationalError | InterfaceError):
        return True
    if isinstance(error, DatabaseError):
        is_of_a_file = type(error) is DatabaseError  # SQLite's, of one that is damaged.
        return is_of_a_file or getattr(error.__cause__, "sqlstate", "") in _SQLSTATES_THAT_PASS
    return False


def _move_checkpoint(
    target: Target, events: Sequence[Received], *, after: int, pace: float
) -> None:
    last = events[-1]
    moved = target.progress.filter(position=after).update(
        position=last.position,
        recorded_at=last.recorded.recorded_at,
        moved_at=timezone.now(),
        events=F("events") + len(events),
        events_per_second=pace,
    )
    if not moved:
        raise CheckpointMoved


def _change_rows(target: Target, events: Sequence[Received]) -> Changes:
    rows: Rows[Any] = Rows(target.table)
    changed: list[Received] = []
    takes, skipped = target.projection.takes, target.skipped
    if target.projection.keeps_revisions:
        _note_revisions(rows, events)
    for received in events:
        if received.recorded.type not in takes:
            continue
        if skipped and (received.position, received.recorded.id) in skipped:
            continue
        before = rows.changes
        _handle(target.projection, received, rows)
        if rows.changes > before:
            changed.append(received)
    rows.write()
    return _to_be_told(target.projection, changed)


def concerns(projection: Projection, events: Sequence[Received]) -> bool:
    """Whether any of these may change the projection's rows; otherwise they move its checkpoint."""
    began_here: set[UUID] = set()
    for received in events:
        if received.recorded.type in projection.takes:
            return True
        loan_request_id = received.loan_request_id if projection.keeps_revisions else None
        if loan_request_id is None or loan_request_id in began_here:
            continue
        if received.recorded.stream_position != 0:
            return True
        # There is no row yet of a request that begins here.
        began_here.add(loan_request_id)
    return False


def _note_revisions(rows: Rows[Any], events: Sequence[Received]) -> None:
    # Whatever an event is, and whether it changes anything or is left out: it is in the stream, and
    # whoever decides on the stream as it was before it is out of date.
    for received in events:
        loan_request_id = received.loan_request_id
        if loan_request_id is not None:
            rows.revise(loan_request_id, received.recorded.stream_position)


def _handle(projection: Projection, received: Received, rows: Rows[Any]) -> None:
    try:
        projection.handle(received.event, rows)
    except Exception as error:
        if will_pass(error):
            raise
        # `from None`: the original may quote an applicant's data.
        raise EventNotHandled(projection.name, received, error) from None


def _to_be_told(projection: Projection, changed: Sequence[Received]) -> Changes:
    if projection.group is None or not changed:
        return Changes()
    groups: dict[str, set[UUID]] = defaultdict(set)
    for received in changed:
        groups[projection.group(received.event.id)].add(received.event.id)
    return Changes(groups, changed[0].recorded.recorded_at)
