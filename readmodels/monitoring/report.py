"""The status of projections in tables for people, and in JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import IO, Any, Final, cast

from django.core.management.base import OutputWrapper
from rich.console import Console
from rich.table import Table

from readmodels.models import Failure, SkippedEvent
from readmodels.monitoring.status import ProjectionStatus, speed_of

# A pipe has no width of its own; this is enough for the longest names.
_WIDTH_OF_A_PIPE: Final = 200


def print_tables(
    statuses: Sequence[ProjectionStatus], skipped: Sequence[SkippedEvent] | None, out: OutputWrapper
) -> None:
    """Print a table of all, one of failures, and one of skipped events if they are given."""
    width = None if out.isatty() else _WIDTH_OF_A_PIPE
    console = Console(file=cast(IO[str], out), width=width, highlight=False)
    console.print(_table_of(statuses))
    failures = [
        failure
        for each in statuses
        for failure in (each.failure, each.waiting, each.rebuild_failure)
        if failure is not None
    ]
    if failures:
        console.print(_table_of_failures(failures))
    if skipped is not None:
        console.print(_table_of_skipped(skipped))


def _table_of(statuses: Iterable[ProjectionStatus]) -> Table:
    table = Table("projection", "state", "version", title="Projections")
    for figure in ("position", "store", "lag (s)", "lag (events)", "events", "events/s"):
        table.add_column(figure, justify="right")
    for each in statuses:
        table.add_row(
            each.name,
            _state_in_words(each),
            _versions_in_words(each),
            str(each.position),
            "unknown" if each.store_position is None else str(each.store_position),
            "unknown" if each.lag is None else f"{each.lag.seconds:.1f}",
            "unknown" if each.lag is None else each.lag.events_in_words,
            str(each.events),
            f"{each.events_per_second:.0f}",
        )
    return table


def _state_in_words(status: ProjectionStatus) -> str:
    if status.failure is None and status.rebuilt_share is not None:
        return f"{status.state}, {status.rebuilt_share:.0%}"
    return str(status.state)


def _versions_in_words(status: ProjectionStatus) -> str:
    if status.version in (None, status.code_version):
        return str(status.code_version)
    return f"{status.version}, code has {status.code_version}"


def _table_of_failures(failures: Iterable[Failure]) -> Table:
    table = Table("stands still", "at", "by event", "of type", "error", "tried", "last")
    for each in failures:
        table.add_row(
            f"rebuild of {each.name}" if each.in_rebuild else each.name,
            str(each.position),
            str(each.event_id),
            each.event_type,
            each.error,
            str(each.attempts),
            f"{each.failed_at:%Y-%m-%d %H:%M:%S}",
        )
    return table


def _table_of_skipped(skipped: Iterable[SkippedEvent]) -> Table:
    table = Table("projection", "leaves out", "event", "of type", "why", "by", "on")
    for each in skipped:
        table.add_row(
            each.name,
            str(each.position),
            str(each.event_id),
            each.event_type,
            each.why,
            each.skipped_by,
            f"{each.skipped_at:%Y-%m-%d %H:%M:%S}",
        )
    return table


def as_json(statuses: Iterable[ProjectionStatus], skipped: Sequence[SkippedEvent] | None) -> str:
    """A list with an object per projection; `manage.py projections --help` describes the keys."""
    documents = [_document(each) for each in statuses]
    if skipped is not None:
        for document in documents:
            document["skipped"] = [
                _skipped_document(each) for each in skipped if each.name == document["name"]
            ]
    return json.dumps(documents, indent=2)


def _document(status: ProjectionStatus) -> dict[str, Any]:
    checkpoint, lag = status.checkpoint, status.lag
    return {
        "name": status.name,
        "state": status.state,
        "version": status.version,
        "code_version": status.code_version,
        "position": status.position,
        "store_position": status.store_position,
        "lag_seconds": None if lag is None else round(lag.seconds, 3),
        "lag_events": None if lag is None else lag.events,
        "lag_events_is_at_least": lag is not None and lag.is_at_least,
        "events": status.events,
        "events_per_second": round(status.events_per_second, 1),
        "moved_at": checkpoint.moved_at.isoformat() if checkpoint else None,
        "failure": _failure_document(status.failure),
        "waiting": _failure_document(status.waiting),
        "rebuild": _rebuild_document(status),
    }


def _rebuild_document(status: ProjectionStatus) -> dict[str, Any] | None:
    rebuild, share = status.rebuild, status.rebuilt_share
    if rebuild is None:
        return None
    return {
        "version": rebuild.version,
        "position": rebuild.position,
        "share": None if share is None else round(share, 4),
        "events": rebuild.events,
        "events_per_second": round(speed_of(rebuild), 1),
        "began_at": rebuild.began_at.isoformat(),
        "failure": _failure_document(status.rebuild_failure),
    }


def _failure_document(failure: Failure | None) -> dict[str, Any] | None:
    if failure is None:
        return None
    return {
        "error": failure.error,
        "event_type": failure.event_type,
        "event_id": str(failure.event_id),
        "position": failure.position,
        "attempts": failure.attempts,
        "failed_at": failure.failed_at.isoformat(),
    }


def _skipped_document(skipped: SkippedEvent) -> dict[str, Any]:
    return {
        "position": skipped.position,
        "event_id": str(skipped.event_id),
        "event_type": skipped.event_type,
        "error": skipped.error,
        "why": skipped.why,
        "skipped_by": skipped.skipped_by,
        "skipped_at": skipped.skipped_at.isoformat(),
    }
