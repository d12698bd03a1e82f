"""Rows as CSV and as XLSX, in bounded memory, and safe to open in a spreadsheet."""

from __future__ import annotations

import csv
import io
import json
import re
import tempfile
import unicodedata
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain, islice
from typing import IO, Any, Final

from asgiref.sync import sync_to_async
from django.conf import settings
from django.core.handlers.asgi import ASGIRequest
from django.db.models import DateTimeField, Field, QuerySet, UUIDField
from django.http import HttpRequest, StreamingHttpResponse
from django.utils import timezone
from xlsxwriter import Workbook
from xlsxwriter.worksheet import Worksheet

Value = str | int | float | datetime | None

_ROWS_AT_ONCE: Final = 500
_BYTES_AT_ONCE: Final = 2**16
# Says to spreadsheets that a file is UTF-8.
_BYTE_ORDER_MARK: Final = "\ufeff"

# Limits of a sheet: https://support.microsoft.com/office/1672b34d-7043-467e-8e27-269d656771c3
_MOST_ROWS: Final = 1_048_576
_LONGEST_TEXT: Final = 32_767
# What XML 1.0 has no place for, even escaped.
_NO_XML: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")

# A spreadsheet takes a cell that begins with one of these for a formula and runs it.
# https://owasp.org/www-community/attacks/CSV_Injection
_FORMULA_STARTS: Final = ("=", "+", "-", "@", "\N{MINUS SIGN}")
_TAKEN_FOR_ANOTHER_CELL: Final = ("\t", "\r", "\n")
# Letters that are seen as a space or as nothing.
_FILLERS: Final = "\u115f\u1160\u3164\uffa0\u2800"
# Where another separator than ours would end a cell.
_ENDS_OF_CELLS: Final = re.compile("([,;\t\r\n])")


@dataclass(frozen=True)
class Column:
    """A column of an export: its heading, its value in a row, and its width in characters."""

    heading: str
    value: Callable[[Any], Value]
    width: int
    has_times: bool = False


def columns_of(model: Any) -> list[Column]:
    """All columns of a model; after an amount, the currency; times in the server's zone."""
    columns = []
    for field in model._meta.concrete_fields:
        columns.append(_column(field))
        if field.name == "amount":
            columns.append(Column("currency", lambda row: str(settings.CURRENCY), 10))
    return columns


def _column(field: Field[Any, Any]) -> Column:
    name = field.attname
    if isinstance(field, DateTimeField):
        zone = timezone.get_default_timezone_name()
        return Column(f"{name} ({zone})", lambda row: _local(getattr(row, name)), 32, True)
    width = 38 if isinstance(field, UUIDField) else max(len(name) + 2, 14)
    return Column(name, lambda row: _plain(getattr(row, name)), width)


def _local(at: datetime | None) -> datetime | None:
    # Spreadsheets know neither zones nor parts of seconds that one would want to see.
    return at and timezone.make_naive(at, timezone.get_default_timezone()).replace(microsecond=0)


def _plain(value: Any) -> Value:
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, list):
        return ", ".join(each if isinstance(each, str) else json.dumps(each) for each in value)
    return str(value)


def csv_response(
    request: HttpRequest, rows: QuerySet[Any], *, separator: str = ","
) -> StreamingHttpResponse:
    """All columns of all rows, with a heading; `separator` is what the reader's country uses."""
    return _response(request, rows, _csv(rows, separator), "text/csv; charset=utf-8", "csv")


def xlsx_response(request: HttpRequest, rows: QuerySet[Any]) -> StreamingHttpResponse:
    """The same as a workbook. Rows that one sheet has no place for are in further ones."""
    kind = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
    return _response(request, rows, _xlsx(rows), kind, "xlsx")


def _response(
    request: HttpRequest, rows: QuerySet[Any], chunks: Iterator[bytes], kind: str, ending: str
) -> StreamingHttpResponse:
    # The first rows are read before the answer begins: what fails then is still an error's answer.
    chunks = chain([next(chunks)], chunks)
    # From an iterator that is not asynchronous, Django's ASGI handler first makes a list.
    content = _in_threads(chunks) if isinstance(request, ASGIRequest) else chunks
    response = StreamingHttpResponse(content, content_type=kind)
    name = rows.model._meta.model_name
    response["Content-Disposition"] = f'attachment; filename="{name}.{ending}"'
    return response


async def _in_threads(chunks: Iterator[bytes]) -> AsyncIterator[bytes]:
    # All in the request's own thread, which has the connection to the database.
    while (chunk := await sync_to_async(_next)(chunks)) is not None:
        yield chunk


def _next(chunks: Iterator[bytes]) -> bytes | None:
    return next(chunks, None)


def _csv(rows: QuerySet[Any], separator: str) -> Iterator[bytes]:
    columns = columns_of(rows.model)
    buffer = io.StringIO(_BYTE_ORDER_MARK)
    buffer.seek(0, io.SEEK_END)
    writer = csv.writer(buffer, delimiter=separator)
    writer.writerow([column.heading for column in columns])
    every = rows.iterator(chunk_size=_ROWS_AT_ONCE)
    while True:
        some = list(islice(every, _ROWS_AT_ONCE))
        writer.writerows([_cell(column.value(row)) for column in columns] for row in some)
        yield buffer.getvalue().encode(errors="replace")
        if len(some) < _ROWS_AT_ONCE:
            return
        buffer.seek(0)
        buffer.truncate()


def _cell(value: Value) -> str | int | float | None:
    if isinstance(value, datetime):
        return value.isoformat(" ", "seconds")
    return harmless(value) if isinstance(value, str) else value


def harmless(text: str) -> str:
    """The text, with an apostrophe before whatever a spreadsheet would take for a formula.

    Behind separators too: a reader whose separator is another one than ours gets cells there.
    """
    pieces = _ENDS_OF_CELLS.split(text)
    text = "".join(f"'{piece}" if _is_formula(piece) else piece for piece in pieces)
    return f"'{text}" if text.startswith(_TAKEN_FOR_ANOTHER_CELL) else text


def _is_formula(piece: str) -> bool:
    """Whether it begins like a formula, behind what nobody sees, or in full width."""
    seen = next((each for each in piece if not _is_unseen(each)), "")
    return unicodedata.normalize("NFKC", seen).startswith(_FORMULA_STARTS)


def _is_unseen(character: str) -> bool:
    return unicodedata.category(character)[0] in "ZCM" or character in _FILLERS


def _xlsx(rows: QuerySet[Any]) -> Iterator[bytes]:
    with tempfile.TemporaryFile() as file:
        _write_workbook(file, rows)
        file.seek(0)
        while chunk := file.read(_BYTES_AT_ONCE):
            yield chunk


def _write_workbook(file: IO[bytes], rows: QuerySet[Any]) -> None:
    columns = columns_of(rows.model)
    # In constant memory, a row goes to the disk as soon as the next one begins.
    with Workbook(file, {"constant_memory": True}) as workbook:
        every = rows.iterator(chunk_size=_ROWS_AT_ONCE)
        while True:
            sheet = _new_sheet(workbook, columns)
            number = 0
            for number, row in enumerate(islice(every, _MOST_ROWS - 1), 1):
                for place, column in enumerate(columns):
                    _write(sheet, number, place, column.value(row))
            if number < _MOST_ROWS - 1:
                return


def _new_sheet(workbook: Workbook, columns: Sequence[Column]) -> Worksheet:
    sheet = workbook.add_worksheet()
    bold = workbook.add_format({"bold": True})
    times = workbook.add_format({"num_format": "yyyy-mm-dd hh:mm:ss"})
    sheet.freeze_panes(1, 0)
    for place, column in enumerate(columns):
        sheet.set_column(place, place, column.width, times if column.has_times else None)
        sheet.write_string(0, place, column.heading, bold)
    return sheet


def _write(sheet: Worksheet, row: int, place: int, value: Value) -> None:
    # Never `write`, which makes formulas and links of some strings.
    match value:
        case None:
            pass
        case str():
            sheet.write_string(row, place, _NO_XML.sub("\ufffd", value)[:_LONGEST_TEXT])
        case datetime():
            sheet.write_datetime(row, place, value)
        case _:
            sheet.write_number(row, place, value)
