"""Lists about loan requests."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db.models import Model, Q, QuerySet
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.html import format_html

from lepret.common.formats import money
from readmodels.admin.filters import (
    AmountFilter,
    DayFilter,
    DecisionDateFilter,
    OutcomeFilter,
    UnderwriterFilter,
)
from readmodels.admin.read_only import EXPORTS, WORK, ReadOnlyAdmin, amount
from readmodels.models import LoanRequest, LoanStatus, ParkedCreditCheck, PendingRequest
from readmodels.pages.event_history import AUTOMATIC_RULES, HistoryUnavailable, history_of
from readmodels.pages.search import Found, QuickSearch, look_for


def person_and_amount(row: LoanRequest | PendingRequest) -> str:
    """What people call a request: `Ann Example, £5,000`."""
    return f"{row.name}, {money(row.amount)}"


@admin.display(description="decided by", ordering="decided_by")
def decided_by(row: LoanRequest) -> str:
    """A column for who or what has decided."""
    return row.decided_by or (AUTOMATIC_RULES if row.decided_at else "-")


@admin.register(LoanRequest)
class LoanRequestAdmin(QuickSearch, ReadOnlyAdmin):
    """All loan requests, each with its history from the event store."""

    section = WORK
    explained = "Everybody who has applied, how each request was decided, and its history."
    list_display = (
        "requested_at",
        "name",
        "national_id",
        amount,
        "credit_score",
        "status",
        decided_by,
        "decided_at",
    )
    list_display_links = ("requested_at", "name")
    list_filter = (
        "status",
        OutcomeFilter,
        ("requested_at", DayFilter),
        ("decided_at", DecisionDateFilter),
        ("decided_by", UnderwriterFilter),
        ("amount", AmountFilter),
        "credit_score",
    )
    search_fields = ("id", "name", "national_id", "decided_by")
    date_hierarchy = "requested_at"
    ordering = ("-requested_at",)
    actions = EXPORTS
    fields: ClassVar[Any] = (
        "status",
        "name",
        "national_id",
        amount,
        "address",
        "credit_score",
        "parked_because",
        "requested_at",
        "decided_at",
        decided_by,
        "denial_reason",
        "note",
        "history",
        "id",
        "revision",
        "gone_at",
    )

    def look_for(self, text: str, rows: QuerySet[Any]) -> Found:
        return look_for(text, rows, also=Q(decided_by=text.strip()))

    def heading_of(self, row: LoanRequest) -> str:
        return person_and_amount(row)

    @admin.display(description="History, from the event store")
    def history(self, loan_request: LoanRequest) -> str:
        try:
            history = history_of(loan_request.id)
        except HistoryUnavailable:
            return "The event store does not answer at the moment."
        return render_to_string("readmodels/_history.html", {"history": history})


def _add_requests(rows: Iterable[Any]) -> None:
    # Kept on the rows, since one ModelAdmin serves many requests at the same time.
    requests = LoanRequest.objects.in_bulk([row.pk for row in rows])
    for row in rows:
        row.request = requests.get(row.pk)


class RequestsChangeList(ChangeList):
    """A page of rows with their loan requests, all read at once."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        _add_requests(self.result_list)


class OfOneRequestAdmin(QuickSearch, ReadOnlyAdmin):
    """Rows that have the id of a loan request, and name it."""

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return RequestsChangeList

    def get_object(
        self, request: HttpRequest, object_id: str, from_field: str | None = None
    ) -> Model | None:
        row = super().get_object(request, object_id, from_field)
        if row is not None:
            _add_requests([row])
        return row

    def heading_of(self, row: Any) -> str:
        return person_and_amount(row.request) if row.request else str(row.pk)

    @admin.display(description="Loan request, with its history")
    def loan_request(self, row: Any) -> str:
        url = reverse("admin:readmodels_loanrequest_change", args=[row.pk])
        return format_html('<a href="{}">{}</a>', url, self.heading_of(row))


@admin.register(ParkedCreditCheck)
class ParkedCreditCheckAdmin(OfOneRequestAdmin):
    """Credit checks that have failed too often and wait for an operator."""

    section = WORK
    explained = "Requests whose credit could not be checked, and which wait for an operator."
    list_display = ("parked_at", "reason", "attempts", "loan_request")
    list_display_links = None
    list_filter = (("parked_at", DayFilter),)
    search_fields = ("id", "reason")
    ordering = ("parked_at",)
    actions = EXPORTS
    fields = ("loan_request", "parked_at", "reason", "attempts")

    def look_for(self, text: str, rows: QuerySet[Any]) -> Found:
        return look_for(text, rows, also=Q(reason__icontains=text))

    def headings(self) -> dict[str, str | None]:
        return {
            "title": "Credit checks that were given up",
            "subtitle": "To have all of them done again: manage.py check_credit --replay-parked",
        }


@admin.register(PendingRequest)
class PendingRequestAdmin(OfOneRequestAdmin):
    """The underwriters' queue."""

    explained = "The rows of the underwriters' queue: what waits for a person's decision."
    list_display = ("requested_at", "name", "national_id", amount, "credit_score")
    list_display_links = ("requested_at", "name")
    list_filter = (("requested_at", DayFilter), ("amount", AmountFilter), "credit_score")
    search_fields = ("id", "name", "national_id")
    ordering = ("requested_at",)
    actions = EXPORTS
    fields: ClassVar[Any] = (*list_display, "loan_request", "revision", "gone_at")

    def heading_of(self, row: PendingRequest) -> str:
        return person_and_amount(row)


@admin.register(LoanStatus)
class LoanStatusAdmin(OfOneRequestAdmin):
    """What applicants see."""

    explained = "The rows of the applicants' own pages: how far each request has come."
    list_display = ("id", "status", amount, "received_at", "decided_at")
    list_filter = (
        "status",
        ("received_at", DayFilter),
        ("decided_at", DecisionDateFilter),
        ("amount", AmountFilter),
    )
    search_fields = ("id",)
    ordering = ("-received_at",)
    actions = EXPORTS
    fields: ClassVar[Any] = (
        "loan_request",
        "status",
        amount,
        "denial_reason",
        "received_at",
        "decided_at",
        "delayed_at",
        "checked_at",
        "passed_on_at",
        "revision",
        "gone_at",
    )
