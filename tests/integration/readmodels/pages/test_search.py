"""Searches of the back office, on SQLite and on PostgreSQL."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest
from django.db.models import Q

from lepret.common.request_numbers import number_of
from readmodels.models import LoanRequest, LoanStatus
from readmodels.pages.search import Found, look_for
from tests.support.projectors import LOANS, STATUS, WORDS, give
from tests.support.read_models import ReadModelsDatabase
from tests.support.sample_events import APPROVED_BY_HAND, REQUESTED

pytestmark = pytest.mark.django_db

JOSE, HARA, MARIE, LI = (
    ("José García", "111111aa"),
    ("Mary O’Hara", "222222bb"),  # noqa: RUF001
    ("Anne-Marie Groß", "333333cc"),
    ("李小龙", "444444dd"),
)


@pytest.fixture
def ids(read_models: ReadModelsDatabase) -> dict[str, UUID]:
    """The ids of some people's requests, which are in the read models."""
    ids: dict[str, UUID] = {}
    for name, national_id in (JOSE, HARA, MARIE, LI):
        ids[name] = uuid4()
        changes = {"id": ids[name], "name": name, "national_id": national_id}
        event = REQUESTED.model_copy(update=changes)
        for projection in (LOANS, STATUS, WORDS):
            give(projection, event)
    return ids


def requests(text: str, **limits: int) -> Found:
    rows = LoanRequest.objects.order_by("national_id")
    return look_for(text, rows, also=Q(decided_by=text), **limits)


def names(text: str) -> list[str]:
    few, many = requests(text), requests(text, most=0)
    very_many = requests(text, most=0, most_sorted=0)
    found = [row.name for row in few.rows]
    # However many are many, they are the same.
    assert [row.name for row in many.rows] == [row.name for row in very_many.rows] == found
    assert not few.are_many
    if found and not text.isspace():
        assert many.to_count is not None
        assert many.to_count.count() == len(found)
    return found


@pytest.mark.usefixtures("ids")
def test_finds_people_however_they_are_written() -> None:
    typed = {
        JOSE: ("José", "JOSÉ", "Jose", "jos", "Jose\u0301", "garc jose"),
        HARA: (
            *("O'Hara", "O’Hara", "ohara", "HARA", "mary o'h"),  # noqa: RUF001
            *("222222bb", "222222 BB", "222222-bb", " 222222B", "mary 2222"),
        ),
        MARIE: ("anne marie", "ANNEMARIE", "Gross", "groß anne-m"),
        LI: ("李", "小龙", "李小"),
    }
    expected = {text: [name] for (name, _), texts in typed.items() for text in texts}
    assert {text: names(text) for text in expected} == expected


@pytest.mark.usefixtures("ids")
def test_blank_finds_everybody() -> None:
    assert len(names("  ")) == len(names(" ")) == 4


@pytest.mark.usefixtures("ids")
def test_finds_nobody_by_what_nobody_has() -> None:
    nobodys = ("jose hara", "%", "_", "*", "zzz", "'", "\U0010ffff", "111111aab", "deadbeef")
    assert {text: names(text) for text in nobodys} == {text: [] for text in nobodys}


def test_finds_by_an_id_or_its_beginning_and_in_other_tables(ids: dict[str, UUID]) -> None:
    wanted = ids[HARA[0]]
    for text in (str(wanted), wanted.hex, f" {{{wanted}}} ".upper(), str(wanted)[:13]):
        assert names(text) == [HARA[0]]
        assert [row.id for row in look_for(text, LoanStatus.objects.all()).rows] == [wanted]
    assert [row.id for row in look_for("o'hara", LoanStatus.objects.all()).rows] == [wanted]


def test_finds_by_the_number_that_applicants_read_out(ids: dict[str, UUID]) -> None:
    number = number_of(ids[LI[0]])
    for typed in (number, number.lower(), number.replace("-", " ")):
        assert names(typed) == [LI[0]]


def test_finds_by_who_decided(ids: dict[str, UUID]) -> None:
    give(LOANS, APPROVED_BY_HAND.model_copy(update={"id": ids[LI[0]], "decided_by": "uma"}))
    assert names("uma") == [LI[0]]
    assert names("um") == []


def test_finds_only_among_the_rows_that_are_searched(ids: dict[str, UUID]) -> None:
    rows = LoanRequest.objects.exclude(id=ids[JOSE[0]])
    assert not look_for("jose", rows).rows.exists()
