"""Rows as CSV, streamed, and safe to open in a spreadsheet."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from typing import Any, Final

from django.db.models import Model, QuerySet
from django.http import StreamingHttpResponse

# A spreadsheet takes a cell that begins with one of these for a formula and runs it.
# https://owasp.org/www-community/attacks/CSV_Injection
_FORMULA_STARTS: Final = ("=", "+", "-", "@", "\t", "\r")


class _Echo:
    """A file for csv.writer whose `write` returns the line, as `writerow` then does."""

    def write(self, line: str) -> str:
        return line


def csv_response(queryset: QuerySet[Any]) -> StreamingHttpResponse:
    """All columns of all rows of `queryset`, with a header line."""
    response = StreamingHttpResponse(_lines(queryset), content_type="text/csv; charset=utf-8")
    name = queryset.model._meta.model_name
    response["Content-Disposition"] = f'attachment; filename="{name}.csv"'
    return response


def _lines(queryset: QuerySet[Any]) -> Iterator[str]:
    writer = csv.writer(_Echo())
    columns = [field.name for field in queryset.model._meta.concrete_fields]
    yield writer.writerow(columns)
    for row in queryset.iterator(chunk_size=500):
        yield writer.writerow([_cell(row, column) for column in columns])


def _cell(row: Model, column: str) -> str:
    value = getattr(row, column)
    text = "" if value is None else str(value)
    return f"'{text}" if text.startswith(_FORMULA_STARTS) else text
