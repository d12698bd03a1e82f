"""The back office in Django's admin: read-only, even for superusers. Only events change rows."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.html import format_html

from lepret.staff.roles import is_back_office
from readmodels.models import (
    Checkpoint,
    Failure,
    LoanRequest,
    LoanStatus,
    ParkedCreditCheck,
    PendingRequest,
    Rebuild,
    SkippedEvent,
)
from readmodels.monitoring.status import ProjectionStatus, read_statuses, speed_of
from readmodels.pages.csv_export import csv_response
from readmodels.pages.event_history import HistoryUnavailable, history_of
from readmodels.projections import PROJECTIONS

admin.site.site_header = admin.site.site_title = "lepret back office"
admin.site.index_title = "Loan requests and what is built from them"

_UNKNOWN: Final = "unknown: the event store does not answer"
_Figure = Callable[[Any, ProjectionStatus], str]

if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin[Any]
else:  # Django's own class takes no type parameter at run time.
    ModelAdmin = admin.ModelAdmin


class ReadOnlyAdmin(ModelAdmin):
    """Lets the back office view rows, and nobody change them."""

    list_per_page = 50
    show_full_result_count = False

    def headings(self) -> dict[str, str | None]:
        """The title and the subtitle of the list, if they differ from Django's."""
        return {}

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        return super().changelist_view(request, {**self.headings(), **(extra_context or {})})

    def has_module_permission(self, request: HttpRequest) -> bool:
        return is_back_office(request.user)

    def has_view_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return is_back_office(request.user)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


@admin.action(description="Export the selected rows as CSV")
def export_as_csv(
    model_admin: ReadOnlyAdmin, request: HttpRequest, queryset: QuerySet[Any]
) -> StreamingHttpResponse:
    return csv_response(queryset)


@admin.register(LoanRequest)
class LoanRequestAdmin(ReadOnlyAdmin):
    """All loan requests, each with its history from the event store."""

    list_display = (
        "requested_at",
        "name",
        "national_id",
        "amount",
        "credit_score",
        "status",
        "decided_by",
        "decided_at",
    )
    list_display_links = ("requested_at", "name")
    list_filter = ("status", "credit_score", "requested_at", "decided_by")
    search_fields = ("id", "name", "national_id", "decided_by")
    date_hierarchy = "requested_at"
    ordering = ("-requested_at",)
    actions = (export_as_csv,)
    fields = (
        "id",
        "status",
        "name",
        "national_id",
        "amount",
        "address",
        "credit_score",
        "parked_because",
        "requested_at",
        "decided_at",
        "decided_by",
        "denial_reason",
        "note",
        "revision",
        "history",
    )

    @admin.display(description="History, from the event store")
    def history(self, loan_request: LoanRequest) -> str:
        try:
            entries = history_of(loan_request.id)
        except HistoryUnavailable:
            return "The event store does not answer at the moment."
        return render_to_string("readmodels/_history.html", {"entries": entries})


@admin.register(PendingRequest)
class PendingRequestAdmin(ReadOnlyAdmin):
    """The underwriters' queue."""

    list_display = ("requested_at", "name", "national_id", "amount", "credit_score")
    list_filter = ("credit_score", "requested_at")
    search_fields = ("id", "name", "national_id")
    ordering = ("requested_at",)
    actions = (export_as_csv,)


@admin.register(LoanStatus)
class LoanStatusAdmin(ReadOnlyAdmin):
    """What applicants see."""

    list_display = ("id", "status", "amount", "received_at", "decided_at")
    list_filter = ("status", "received_at")
    search_fields = ("id",)
    ordering = ("-received_at",)
    actions = (export_as_csv,)


@admin.register(ParkedCreditCheck)
class ParkedCreditCheckAdmin(ReadOnlyAdmin):
    """Credit checks that have failed too often and wait for an operator."""

    list_display = ("parked_at", "reason", "attempts", "loan_request")
    list_display_links = None
    list_filter = ("parked_at",)
    search_fields = ("id", "reason")
    ordering = ("parked_at",)
    actions = (export_as_csv,)
    fields = ("loan_request", "parked_at", "reason", "attempts")

    @admin.display(description="Loan request, with its history")
    def loan_request(self, parked: ParkedCreditCheck) -> str:
        url = reverse("admin:readmodels_loanrequest_change", args=[parked.id])
        return format_html('<a href="{}">{}</a>', url, parked.id)

    def headings(self) -> dict[str, str | None]:
        return {
            "title": "Credit checks that were given up",
            "subtitle": "To have all of them done again: manage.py check_credit --replay-parked",
        }


def _add_statuses(checkpoints: Iterable[Any]) -> None:
    # Kept on the rows, since one ModelAdmin serves many requests at the same time.
    statuses = read_statuses()
    for checkpoint in checkpoints:
        checkpoint.status = statuses.get(checkpoint.name)


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
        return f"{status.lag.seconds:.1f}" if status.lag else _UNKNOWN

    @_status_column("Lag in events")
    def lag_in_events(self, status: ProjectionStatus) -> str:
        return status.lag.events_in_words if status.lag else _UNKNOWN

    @_status_column("Events per second")
    def speed(self, status: ProjectionStatus) -> str:
        return f"{status.events_per_second:.0f}"

    @_status_column("Version (and the program's)")
    def versions(self, status: ProjectionStatus) -> str:
        return f"{status.version} ({status.code_version})"

    @_status_column("Stands still because of")
    def last_error(self, status: ProjectionStatus) -> str:
        failure = status.failure
        return f"{failure.event_type} at {failure.position}: {failure.error}" if failure else ""

    @_status_column("Position of the event store's last event", if_gone=_UNKNOWN)
    def store_position(self, status: ProjectionStatus) -> str:
        return _UNKNOWN if status.store_position is None else str(status.store_position)


@admin.register(Failure)
class FailureAdmin(ReadOnlyAdmin):
    """Stopped projections, each with the event that it cannot handle."""

    list_display = ("stopped", "position", "event_type", "error", "attempts", "failed_at")
    fields = (*list_display, "event_id", "stream_name")
    ordering = ("name", "in_rebuild")

    @admin.display(description="Stands still", ordering="name")
    def stopped(self, failure: Failure) -> str:
        return f"rebuild of {failure.name}" if failure.in_rebuild else failure.name

    def headings(self) -> dict[str, str | None]:
        return {"title": "Projections that stand still, and the event that stopped each"}


@admin.register(SkippedEvent)
class SkippedEventAdmin(ReadOnlyAdmin):
    """Events that a projection skips for good."""

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
