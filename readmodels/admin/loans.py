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
from lepret.staff.roles import is_underwriter
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
from readmodels.pages.explaining import (
    explanation_of,
    in_staffs_words,
    reasons_to_applicant,
    reasons_to_staff,
)
from readmodels.pages.opinions import awaiting
from readmodels.pages.search import Found, QuickSearch, look_for


def person_and_amount(row: LoanRequest | PendingRequest) -> str:
    """What people call a request: `Ann Example, £5,000`."""
    return f"{row.name}, {money(row.amount)}"


@admin.display(description="decided by", ordering="decided_by")
def decided_by(row: LoanRequest) -> str:
    """A column for who or what has decided."""
    return " and ".join(row.deciders) or (AUTOMATIC_RULES if row.decided_at else "-")


@admin.display(description="reasons")
def reasons(row: LoanRequest) -> str:
    """Why not, in words for the staff."""
    return ", ".join(reasons_to_staff(row)) or "-"


@admin.display(description="reasons, as the applicant is told")
def reasons_told(row: LoanStatus) -> str:
    """Why not, in words for the applicant."""
    return " ".join(each.text for each in reasons_to_applicant(row)) or "-"


@admin.display(description="explanation")
def explanation(row: LoanRequest | LoanStatus) -> str:
    """Why it was decided, or is looked at, as it is."""
    return explanation_of(row) or "-"


@admin.display(description="awaiting")
def awaited(row: PendingRequest) -> str:
    """A column for whose opinion it takes, where somebody has given one."""
    return awaiting(row.votes) or "-"


@admin.display(description="what lowered the score")
def factors(row: LoanRequest) -> str:
    """What the credit bureau says, in words."""
    return ", ".join(in_staffs_words(row.factors, policy=row.policy)) or "-"


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
        "disagreement",
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
        factors,
        "parked_because",
        "requested_at",
        "decided_at",
        decided_by,
        reasons,
        "note",
        explanation,
        "policy",
        "disagreement",
        "history",
        "id",
        "revision",
        "gone_at",
    )

    def look_for(self, text: str, rows: QuerySet[Any]) -> Found:
        return look_for(text, rows, also=Q(decided_by=text.strip()))

    def heading_of(self, row: LoanRequest) -> str:
        return person_and_amount(row)

    def get_fields(self, request: HttpRequest, obj: LoanRequest | None = None) -> Any:
        fields = super().get_fields(request, obj)
        return (*fields, "underwriters_page") if is_underwriter(request.user) else fields

    @admin.display(description="underwriters' page")
    def underwriters_page(self, loan_request: LoanRequest) -> str:
        url = reverse("readmodels:request", args=[loan_request.id])
        return format_html('<a href="{}">Decide, or add a note</a>', url)

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
    list_display = ("requested_at", "name", "national_id", amount, "credit_score", awaited)
    list_display_links = ("requested_at", "name")
    list_filter = (("requested_at", DayFilter), ("amount", AmountFilter), "credit_score")
    search_fields = ("id", "name", "national_id")
    ordering = ("requested_at",)
    actions = EXPORTS
    fields: ClassVar[Any] = (
        *list_display,
        "applied_at",
        "policy",
        "loan_request",
        "revision",
        "gone_at",
    )

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
        reasons_told,
        explanation,
        "awaiting",
        "policy",
        "received_at",
        "decided_at",
        "delayed_at",
        "checked_at",
        "passed_on_at",
        "revision",
        "gone_at",
    )
