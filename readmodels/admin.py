"""The back office's view: read-only, for superusers too, since only events change what is here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.db.models import Model, QuerySet
from django.http import HttpRequest, StreamingHttpResponse
from django.template.loader import render_to_string

from lepret.roles import is_back_office
from readmodels.csv_export import csv_response
from readmodels.event_history import HistoryUnavailable, history_of
from readmodels.lag import LagUnknown, lag_seconds
from readmodels.models import Checkpoint, LoanRequest, LoanStatus, PendingRequest

admin.site.site_header = admin.site.site_title = "lepret back office"
admin.site.index_title = "Loan requests and what is built from them"

if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin[Any]
else:  # Django's own class takes no type parameter when it runs.
    ModelAdmin = admin.ModelAdmin


class ReadOnlyAdmin(ModelAdmin):
    """Shown to the back office, changed by nobody."""

    list_per_page = 50
    show_full_result_count = False

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
        "requested_at",
        "decided_at",
        "decided_by",
        "denial_reason",
        "note",
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


@admin.register(Checkpoint)
class CheckpointAdmin(ReadOnlyAdmin):
    """How far each projection has come, and how far it is behind."""

    list_display = ("name", "position", "recorded_at", "moved_at", "lag_in_seconds")
    ordering = ("name",)

    @admin.display(description="Lag in seconds")
    def lag_in_seconds(self, checkpoint: Checkpoint) -> str:
        try:
            return f"{lag_seconds(checkpoint):.1f}"
        except LagUnknown:
            return "unknown: the event store does not answer"
