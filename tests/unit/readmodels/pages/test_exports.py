"""Exports as spreadsheets read them."""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4
from xml.etree import ElementTree

import pytest
from django.db import OperationalError
from django.test import RequestFactory
from pytest_django import Settings

from readmodels.models import LoanRequest
from readmodels.pages.exports import csv_response, harmless, xlsx_response

pytestmark = pytest.mark.django_db

AT = datetime(2026, 6, 29, 23, 33, 7, 999, tzinfo=UTC)
MAIN = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
FORMULAS = (
    *("=1+1", "+1", "-1", "@SUM(A1)", "\N{MINUS SIGN}1", "＝1", "＋1", "－1", "＠A1", "﹢1", "﹦1"),  # noqa: RUF001
    *(
        "\t=1",
        "\r=1",
        "\n=1",
        "\u00a0=1",
        "\u200b=1",
        "\ufeff=1",
        " \u2060 =1",
        "\u3164=1",
        "\x00=1",
    ),
    *(
        "\u202e=1",
        "\u3000＝1",  # noqa: RUF001
        "\u0301=1",
        "\tx",
        "\rx",
        "\nx",
        "x;=1",
        "x,=1",
        "x\t-1",
        "x\n \u200b@A",
    ),
)


@pytest.fixture(autouse=True)
def _in_berlin(settings: Settings) -> None:
    settings.TIME_ZONE = "Europe/Berlin"
    settings.CURRENCY = "EUR"


def loan_request(**values: Any) -> LoanRequest:
    row = {"name": "Ann", "national_id": "555555aa", "amount": 5000, "requested_at": AT}
    return LoanRequest.objects.create(id=uuid4(), **{**row, **values})


def exported(separator: str = ",") -> bytes:
    request = RequestFactory().get("/")
    rows = LoanRequest.objects.order_by("amount")
    return b"".join(csv_response(request, rows, separator=separator))


def read_csv(separator: str = ",") -> list[dict[str, str]]:
    text = exported(separator).decode("utf-8-sig")
    return list(csv.DictReader(io.StringIO(text, newline=""), delimiter=separator))


def cells() -> list[dict[str, tuple[str, str]]]:
    """The rows of the workbook's first sheet: the type and the text of each cell."""
    request = RequestFactory().get("/")
    book = zipfile.ZipFile(io.BytesIO(b"".join(xlsx_response(request, LoanRequest.objects.all()))))
    assert not any("xl/worksheets/_rels" in name for name in book.namelist()), "no links"
    sheet = ElementTree.fromstring(book.read("xl/worksheets/sheet1.xml"))  # noqa: S314
    assert sheet.find(f".//{MAIN}f") is None, "no formulas"
    assert sheet.find(f".//{MAIN}pane") is not None, "the heading stays"
    heading, *rows = [
        {
            cell.get("r", "").rstrip("0123456789"): (cell.get("t", "n"), "".join(cell.itertext()))
            for cell in row
        }
        for row in sheet.iter(f"{MAIN}row")
    ]
    return [{heading[place][1]: cell for place, cell in row.items()} for row in rows]


@pytest.mark.parametrize("text", FORMULAS, ids=ascii)
def test_what_a_spreadsheet_would_run_is_text(text: str) -> None:
    assert harmless(text) != text
    assert harmless(text).replace("'", "") == text


@pytest.mark.parametrize(
    "text", ["Ann", "Zoë O'Brien", "1 High St, Flat 2; rear", "", "5-1", "a=b"]
)
def test_other_text_stays_as_it_is(text: str) -> None:
    assert harmless(text) == text


@pytest.mark.parametrize("separator", [",", ";"])
def test_a_csv_has_dates_amounts_and_currency_and_is_utf_8(separator: str) -> None:
    row = loan_request(name="=Zoë", address="1 High St, a; b\nc")
    assert exported(separator).startswith(b"\xef\xbb\xbfid" + separator.encode())
    [read] = read_csv(separator)
    assert read["id"] == str(row.id)
    assert read["name"] == "'=Zoë"
    assert read["address"] == "1 High St, a; b\nc"
    assert (read["amount"], read["currency"]) == ("5000", "EUR")
    assert read["requested_at (Europe/Berlin)"] == "2026-06-30 01:33:07"
    assert read["decided_at (Europe/Berlin)"] == ""


def test_a_csv_of_many_rows_comes_in_parts() -> None:
    LoanRequest.objects.bulk_create(
        LoanRequest(id=uuid4(), name="Ann", amount=number, requested_at=AT)
        for number in range(1201)
    )
    request = RequestFactory().get("/")
    assert len(list(csv_response(request, LoanRequest.objects.all()))) == 3
    assert [row["amount"] for row in read_csv()] == [str(number) for number in range(1201)]


@pytest.mark.parametrize("respond", [csv_response, xlsx_response])
def test_what_fails_at_once_fails_before_the_answer_begins(
    respond: Callable[..., object], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> Iterator[LoanRequest]:
        raise OperationalError
        yield

    rows = LoanRequest.objects.all()
    monkeypatch.setattr(type(rows), "iterator", fail)
    with pytest.raises(OperationalError):
        respond(RequestFactory().get("/"), rows)


def test_a_workbook_has_text_numbers_and_dates_and_neither_formulas_nor_links() -> None:
    loan_request(name="=1+1", note="https://example.com", address="a\x00b\x07", credit_score=6)
    [row] = cells()
    assert row["name"] == ("inlineStr", "=1+1")
    assert row["note"] == ("inlineStr", "https://example.com")
    assert row["address"] == ("inlineStr", "a\ufffdb\ufffd")
    assert row["amount"] == ("n", "5000")
    assert row["currency"] == ("inlineStr", "EUR")
    kind, number = row["requested_at (Europe/Berlin)"]
    # Days since 30 December 1899.
    expected = datetime(2026, 6, 30, 1, 33, 7) - datetime(1899, 12, 30)  # noqa: DTZ001
    assert kind == "n"
    assert float(number) == pytest.approx(expected.total_seconds() / 86400, abs=1e-6)


def test_a_list_is_in_one_cell() -> None:
    loan_request(reasons=["too_much_debt", "other"], together_with=["=uma"])
    (row,) = read_csv()
    assert (row["reasons"], row["factors"]) == ("too_much_debt, other", "")
    assert row["together_with"] == "'=uma"
    assert cells()[0]["reasons"][1] == "too_much_debt, other"
