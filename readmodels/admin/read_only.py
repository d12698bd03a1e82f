"""What all lists and pages of the back office have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import redirect
from django.utils.text import capfirst

from lepret.common.formats import money
from lepret.staff.roles import is_back_office
from readmodels.pages.exports import csv_response, xlsx_response

# The sections of the first page.
WORK: Final = "Work"
SYSTEM: Final = "System"

if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin[Any]
else:  # Django's own class takes no type parameter at run time.
    ModelAdmin = admin.ModelAdmin


class ReadOnlyAdmin(ModelAdmin):
    """Lets the back office view rows, and nobody change them.

    The first page lists the model in `section`, and says what it is in the words of `explained`.
    """

    list_per_page = 50
    show_full_result_count = False
    section = SYSTEM
    explained = ""

    def headings(self) -> dict[str, str | None]:
        """The subtitle of the list, and its title if it is not what the rows are called."""
        return {}

    def heading_of(self, row: Any) -> str:
        """The title of a row's page."""
        return str(row)

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        title = capfirst(str(self.model._meta.verbose_name_plural))
        context = {"title": title, **self.headings(), **(extra_context or {})}
        return super().changelist_view(request, context)

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        context |= {"title": self.heading_of(context["original"]), "subtitle": None}
        return super().render_change_form(request, context, *args, **kwargs)

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Redirect to the row's page: Django's would show edits, of which there are none."""
        meta = self.model._meta
        return redirect(
            f"admin:{meta.app_label}_{meta.model_name}_change", object_id=unquote(object_id)
        )

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


@admin.display(description="amount", ordering="amount")
def amount(row: Any) -> str:
    """A column for amounts: with the currency, and sorted by number."""
    return money(row.amount)


@admin.action(description="Export the selected rows as CSV")
def export_as_csv(
    model_admin: ReadOnlyAdmin, request: HttpRequest, queryset: QuerySet[Any]
) -> StreamingHttpResponse:
    return csv_response(request, queryset)


@admin.action(description="Export the selected rows as CSV, with semicolons")
def export_as_csv_with_semicolons(
    model_admin: ReadOnlyAdmin, request: HttpRequest, queryset: QuerySet[Any]
) -> StreamingHttpResponse:
    return csv_response(request, queryset, separator=";")


@admin.action(description="Export the selected rows as XLSX")
def export_as_xlsx(
    model_admin: ReadOnlyAdmin, request: HttpRequest, queryset: QuerySet[Any]
) -> StreamingHttpResponse:
    return xlsx_response(request, queryset)


EXPORTS: Final = (export_as_csv, export_as_csv_with_semicolons, export_as_xlsx)
