"""Events that a projection cannot handle: it stands still there.

An operator decides how to go on, or another version of the program tries in its turn, once. An
event that only a newer version can read is no fault: this one leaves the projection to that.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Final

from django.db.models import QuerySet
from django.utils import timezone

from readmodels.database import read_models_transaction
from readmodels.models import Checkpoint, Failure, Rebuild, SkippedEvent
from readmodels.projector.batches import EventNotHandled, NewerEvent
from readmodels.projector.program import fingerprint

# With the delays in between, a transient error has a few seconds to pass.
MOST_ATTEMPTS: Final = 5


class NotStopped(Exception):
    """This projection is not stopped, or not at this position. The message says which."""


class Attempts:
    """Counts the attempts at one event in a row."""

    def __init__(self) -> None:
        self._position = 0
        self._count = 0

    def at(self, position: int) -> int:
        """Count one more attempt at this position; returns how many there were."""
        if position != self._position:
            self._position, self._count = position, 0
        self._count += 1
        return self._count


def advice(name: str, failure: EventNotHandled) -> str:
    """What an operator can do about a projection that is stopped, or its rebuild."""
    return (
        f"after a fix, `manage.py project --retry {name}`; to leave the event out for good, "
        f"`manage.py project --skip {failure.received.position} --why TEXT {name}`"
    )


def is_stopped(name: str, *, in_rebuild: bool = False) -> bool:
    """Whether it stands still before an event that this version of the program has tried."""
    failure = _of(name, in_rebuild=in_rebuild).first()
    if failure is None:
        return False
    progress = (Rebuild if in_rebuild else Checkpoint).objects.filter(name=name).first()
    if progress is not None and progress.position >= failure.position:
        # Another version got past it, in the same moment or before it was killed.
        failure.delete()
        return False
    return fingerprint() in (failure.tried_by or ())


class Passing:
    """Deletes the record of a failure that others have left, once its event is passed."""

    def __init__(self, name: str, *, in_rebuild: bool = False) -> None:
        self._failures = _of(name, in_rebuild=in_rebuild)
        self._position = self._failures.values_list("position", flat=True).first()

    def reached(self, position: int) -> None:
        """Say that all events up to a position are applied."""
        if self._position is not None and position >= self._position:
            self._failures.filter(position__lte=position).delete()
            self._position = None


def stop(name: str, failure: EventNotHandled, *, attempts: int, in_rebuild: bool = False) -> None:
    """Record that a projection, or its rebuild, stands still from now on, and why."""
    position = failure.received.position
    before = _of(name, in_rebuild=in_rebuild).filter(position=position).first()
    tried_by = sorted({*((before and before.tried_by) or ()), fingerprint()})
    # That another version could read the event and failed says more than that this one cannot.
    is_known = isinstance(failure, NewerEvent) and before is not None and not before.is_newer
    reason = {} if is_known else _reason(failure, attempts)
    Failure.objects.update_or_create(
        name=name, in_rebuild=in_rebuild, defaults={**reason, "tried_by": tried_by}
    )


def _reason(failure: EventNotHandled, attempts: int) -> dict[str, Any]:
    recorded = failure.received.recorded
    return {
        "position": failure.received.position,
        "event_id": recorded.id,
        "event_type": recorded.type,
        "stream_name": recorded.stream_name,
        "error": failure.place,
        "attempts": attempts,
        "failed_at": timezone.now(),
        "schema_version": failure.schema_version if isinstance(failure, NewerEvent) else None,
    }


def retry(names: Collection[str]) -> None:
    """Have these projections, and their rebuilds, try again where they stopped.

    Raises:
        NotStopped: one of them is not stopped; none is changed then.
    """
    with read_models_transaction():
        for name in names:
            deleted, _ = Failure.objects.filter(name=name).delete()
            if not deleted:
                raise NotStopped(f"{name} is not stopped.")


def skip(position: int, *, names: Collection[str], why: str, by: str) -> Sequence[str]:
    """Have the named projections, or all that are stopped at a position, skip the event there.

    Returns:
        The names of the projections, which skip it for good, in rebuilds too.

    Raises:
        NotStopped: no projection is stopped there, or a named one is not; none is changed then.
    """
    with read_models_transaction():
        stopped = Failure.objects.select_for_update().filter(position=position)
        failures = {each.name: each for each in stopped}
        wanted = sorted(names or failures)
        if not wanted:
            raise NotStopped(f"Nothing is stopped at {position}.")
        for name in wanted:
            if name not in failures:
                raise NotStopped(f"{name} is not stopped at {position}.")
            _skip_event(failures[name], why=why, by=by)
        stopped.filter(name__in=wanted).delete()
    return wanted


def _of(name: str, *, in_rebuild: bool) -> QuerySet[Failure]:
    return Failure.objects.filter(name=name, in_rebuild=in_rebuild)


def _skip_event(failure: Failure, *, why: str, by: str) -> None:
    SkippedEvent.objects.get_or_create(
        name=failure.name,
        position=failure.position,
        defaults={
            "event_id": failure.event_id,
            "event_type": failure.event_type,
            "error": failure.error,
            "why": why,
            "skipped_by": by,
        },
    )
