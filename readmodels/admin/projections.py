"""Lists about projections: how far each has come, what stopped it, and what it skips."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any, Final

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db.models import Model
from django.http import HttpRequest

from readmodels.admin.read_only import ReadOnlyAdmin
from readmodels.models import Checkpoint, Failure, Rebuild, SkippedEvent
from readmodels.monitoring.status import ProjectionStatus, read_statuses, speed_of
from readmodels.projections import PROJECTIONS

_STORE_REPLACED: Final = "the event store went back, or is another one"
_Figure = Callable[[Any, ProjectionStatus], str]


def _add_statuses(checkpoints: Iterable[Any]) -> None:
    # Kept on the rows, since one ModelAdmin serves many requests at the same time.
    statuses = read_statuses()
    for checkpoint in checkpoints:
        checkpoint.status = statuses.get(checkpoint.name)


def _why_unknown(status: ProjectionStatus) -> str:
    return f"unknown: {_STORE_REPLACED if status.store_replaced else status.why_unknown}"


def _status_column(description: str, *, if_gone: str = "") -> Callable[[_Figure], Any]:
    """A column about a projection's status; `if_gone` if the code has no such projection."""

    def column(figure: _Figure) -> Any:
        @admin.display(description=description)
        @functools.wraps(figure)
        def cell(model_admin: Any, checkpoint: Any) -> str:
            status: ProjectionStatus | None = checkpoint.status
            return figure(model_admin, status) if status else if_gone

        return cell

    return column


class StatusChangeList(ChangeList):
    """A page of checkpoints with the statuses of their projections, all read at once."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        _add_statuses(self.result_list)


@admin.register(Checkpoint)
class CheckpointAdmin(ReadOnlyAdmin):
    """The status of each projection: its position, its lag and more."""

    explained = "How far each read model has come, and how far it is behind."
    list_display = (
        "name",
        "state",
        "position",
        "lag_in_seconds",
        "lag_in_events",
        "speed",
        "versions",
        "last_error",
        "moved_at",
    )
    fields = (*list_display, "recorded_at", "store_position", "events")
    ordering = ("name",)

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return StatusChangeList

    def headings(self) -> dict[str, str | None]:
        not_built = PROJECTIONS.keys() - set(Checkpoint.objects.values_list("name", flat=True))
        words = f"Not built yet: {', '.join(sorted(not_built))}" if not_built else None
        return {"subtitle": words}

    def get_object(
        self, request: HttpRequest, object_id: str, from_field: str | None = None
    ) -> Model | None:
        checkpoint = super().get_object(request, object_id, from_field)
        if checkpoint is not None:
            _add_statuses([checkpoint])
        return checkpoint

    @_status_column("State", if_gone="left over: there is no such projection any more")
    def state(self, status: ProjectionStatus) -> str:
        if status.rebuilt_share is None:
            return status.state
        return f"{status.state} ({status.rebuilt_share:.0%} of a rebuild is done)"

    @_status_column("Lag in seconds")
    def lag_in_seconds(self, status: ProjectionStatus) -> str:
        return f"{status.lag.seconds:.1f}" if status.lag else _why_unknown(status)

    @_status_column("Lag in events")
    def lag_in_events(self, status: ProjectionStatus) -> str:
        return status.lag.events_in_words if status.lag else _why_unknown(status)

    @_status_column("Events per second")
    def speed(self, status: ProjectionStatus) -> str:
        return f"{status.events_per_second:.0f}"

    @_status_column("Version (and the program's)")
    def versions(self, status: ProjectionStatus) -> str:
        return f"{status.version} ({status.code_version})"

    @_status_column("Stands still because of")
    def last_error(self, status: ProjectionStatus) -> str:
        failure = status.failure or status.waiting
        if failure is None:
            return _STORE_REPLACED if status.store_replaced else ""
        return f"{failure.event_type} at {failure.position}: {failure.error}"

    @_status_column("Position of the event store's last event", if_gone="unknown")
    def store_position(self, status: ProjectionStatus) -> str:
        if status.store_position is None:
            return f"unknown: {status.why_unknown}"
        return str(status.store_position)


@admin.register(Failure)
class FailureAdmin(ReadOnlyAdmin):
    """Stopped projections, each with the event that it cannot handle."""

    explained = "Projections that stand still, each with the event that stopped it."
    list_display = ("stopped", "position", "event_type", "error", "attempts", "failed_at")
    fields = (*list_display, "event_id", "stream_name")
    list_filter = ("name", "in_rebuild")
    ordering = ("name", "in_rebuild")

    @admin.display(description="Stands still", ordering="name")
    def stopped(self, failure: Failure) -> str:
        return f"rebuild of {failure.name}" if failure.in_rebuild else failure.name

    def headings(self) -> dict[str, str | None]:
        return {"title": "Projections that stand still, and the event that stopped each"}


@admin.register(SkippedEvent)
class SkippedEventAdmin(ReadOnlyAdmin):
    """Events that a projection skips for good."""

    explained = "Events that a projection leaves out for good, and who decided that."
    list_display = (
        "projection",
        "position",
        "event_type",
        "event_id",
        "why",
        "skipped_by",
        "skipped_at",
    )
    fields = (*list_display, "error")
    list_filter = ("name", "skipped_by")
    ordering = ("name", "position")

    @admin.display(description="Left out by the projection", ordering="name")
    def projection(self, skipped: SkippedEvent) -> str:
        return skipped.name


@admin.register(Rebuild)
class RebuildAdmin(ReadOnlyAdmin):
    """Tables that are being built beside the live ones."""

    explained = "Read models that are being built anew beside those that pages read."
    list_display = (
        "projection",
        "version",
        "position",
        "events",
        "speed",
        "recorded_at",
        "began_at",
        "moved_at",
    )
    fields = (*list_display, "build")
    ordering = ("name",)

    @admin.display(description="Projection being built", ordering="name")
    def projection(self, rebuild: Rebuild) -> str:
        return rebuild.name

    @admin.display(description="Events per second")
    def speed(self, rebuild: Rebuild) -> str:
        return f"{speed_of(rebuild):.0f}"
