"""Applies a batch of events to a projection: rows and checkpoint, in one transaction."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Final
from uuid import UUID

from django.db import InterfaceError, OperationalError, router, transaction
from django.utils import timezone
from esdbclient import RecordedEvent

from lepret.error_places import type_and_place
from loans import codec
from readmodels.models import Checkpoint
from readmodels.projections import Projection

# A connection that broke, a lock that was not had in time: these pass, and are no event's fault.
DATABASE_AWAY: Final = (OperationalError, InterfaceError)

# For each channel-layer group, the loan requests that changed.
Changes = Mapping[str, set[UUID]]


class CheckpointMoved(Exception):
    """Someone else moved the checkpoint; the batch was rolled back."""


class EventNotHandled(Exception):
    """A projection could not handle an event. Names it, and nothing of what it says."""

    def __init__(self, projection: Projection, event: RecordedEvent, error: Exception) -> None:
        super().__init__(
            f"{projection.name} cannot handle {event.type} {event.id} at {event.commit_position}: "
            f"{type_and_place(error)}"
        )


def read_checkpoint(projection: Projection) -> int:
    """The commit position of the last event that was applied; 0 where none was."""
    checkpoint, _ = Checkpoint.objects.get_or_create(name=projection.name)
    return checkpoint.position


def apply_batch(projection: Projection, events: Sequence[RecordedEvent], *, after: int) -> Changes:
    """Apply `events` and move the checkpoint from `after` to the last of them, or do nothing.

    Raises:
        CheckpointMoved: the checkpoint is not at `after` any more.
        EventNotHandled: the projection's handler raised.
        OperationalError, InterfaceError: the database is away, or too busy.
    """
    with transaction.atomic(using=router.db_for_write(Checkpoint)):
        # First, because it locks the row: another projector waits here and then finds that it has
        # moved, rather than doing the same work to see it rolled back.
        _move_checkpoint(projection, after, events[-1])
        return _apply_each(projection, events)


def _move_checkpoint(projection: Projection, after: int, last: RecordedEvent) -> None:
    moved = Checkpoint.objects.filter(name=projection.name, position=after).update(
        position=last.commit_position, recorded_at=last.recorded_at, moved_at=timezone.now()
    )
    if not moved:
        raise CheckpointMoved


def _apply_each(projection: Projection, events: Sequence[RecordedEvent]) -> Changes:
    changes: dict[str, set[UUID]] = defaultdict(set)
    for recorded in events:
        try:
            changed = _apply_one(projection, recorded)
        except DATABASE_AWAY:
            raise
        except Exception as error:  # noqa: BLE001 (whatever a handler raises, the event is named)
            # `from None`: the original may quote an applicant's data.
            raise EventNotHandled(projection, recorded, error) from None
        if changed is not None and projection.group is not None:
            changes[projection.group(changed)].add(changed)
    return changes


def _apply_one(projection: Projection, recorded: RecordedEvent) -> UUID | None:
    """The loan request whose row the event changed, if it changed any."""
    event = codec.decode(recorded.type, recorded.data, recorded.metadata)
    if event is None or not projection.handle(event):
        return None
    return event.id
