"""The queue's page as somebody wants to see it, without JavaScript."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.test import Client
from django.utils import timezone

from readmodels.models import PendingRequest
from tests.support.known_policies import STRICT, known
from tests.support.staff import make_underwriter

pytestmark = pytest.mark.django_db

ROW = re.compile(r'<tr id="request-(\S+)"([^>]*)>')


@pytest.fixture
def uma(client: Client) -> Client:
    client.force_login(make_underwriter("uma"))
    return client


def waiting(number: int, *, hours: float, **values: Any) -> None:
    """Add a request that was complete so many hours ago."""
    complete_at = timezone.now() - timedelta(hours=hours)
    usual = {"name": f"Number {number}", "national_id": "555555aa", "requested_at": complete_at}
    row = {"amount": 1000, "credit_score": 5, **usual, **values}
    PendingRequest.objects.create(id=UUID(int=number), **row)


def claimed(by: str, *, minutes: float = 10) -> dict[str, Any]:
    return {"claimed_by": by, "claimed_until": timezone.now() + timedelta(minutes=minutes)}


@pytest.fixture
def _six() -> None:
    """Six requests, the first of which is due last."""
    known(3, STRICT.model_copy(update={"decide_within": timedelta(hours=24)}))
    opinion = {"by": "ursula", "status": "denied", "at": timezone.now().isoformat(), "note": ""}
    said = {"reasons": ["too_much_debt"], "reason_text": "", "policy": 3, **opinion}
    waiting(1, hours=1)
    waiting(2, hours=2, **claimed("uma"))
    waiting(3, hours=3, **claimed("ursula"), credit_score=6)
    waiting(4, hours=17, **claimed("uma", minutes=-1), amount=10_001)
    waiting(5, hours=19, amount=10_000, applied_at=timezone.now() - timedelta(hours=30))
    waiting(6, hours=25, votes=[said], credit_score=7)


def html(client: Client, **query: str) -> str:
    response = client.get("/underwriting/", query)
    assert response.status_code == 200
    return response.content.decode()


def rows(html: str) -> list[int]:
    """The numbers of the rows that are shown, in their order."""
    found = ROW.findall(html)
    return [UUID(each).int for each, attributes in found if not attributes.endswith(" hidden")]


@pytest.mark.usefixtures("_six")
class TestFilter:
    @pytest.mark.parametrize(
        ("query", "shown"),
        [
            ({}, [6, 5, 4, 3, 2, 1]),
            ({"show": "all"}, [6, 5, 4, 3, 2, 1]),
            ({"show": "unclaimed"}, [6, 5, 4, 1]),
            ({"show": "mine"}, [2]),
            ({"show": "due"}, [6, 5]),
            ({"show": "large"}, [4]),
            ({"show": "second"}, [6]),
            ({"from": "10000"}, [5, 4]),
            ({"to": "10000", "show": "unclaimed"}, [6, 5, 1]),
            ({"from": "1001", "to": "10000"}, [5]),
            ({"from": "", "to": ""}, [6, 5, 4, 3, 2, 1]),
            ({"from": "2", "to": "1"}, []),
        ],
    )
    def test_those_that_fit_are_shown(
        self, uma: Client, query: dict[str, str], shown: list[int]
    ) -> None:
        assert rows(html(uma, **query)) == shown

    @pytest.mark.parametrize(
        ("sort", "shown"),
        [
            ("due", [6, 5, 4, 3, 2, 1]),
            ("amount", [4, 5, 6, 3, 2, 1]),
            ("score", [5, 4, 2, 1, 3, 6]),
            ("waiting", [5, 6, 4, 3, 2, 1]),
        ],
    )
    def test_they_are_in_the_order_that_was_asked_for(
        self, uma: Client, sort: str, shown: list[int]
    ) -> None:
        assert rows(html(uma, sort=sort)) == shown

    def test_the_others_are_there_for_the_script_and_it_is_said_how_many_are_shown(
        self, uma: Client
    ) -> None:
        page = html(uma, show="unclaimed", sort="amount")
        assert len(ROW.findall(page)) == 6
        assert "4 of 6 shown." in page
        assert " shown." not in html(uma, sort="amount")

    def test_the_form_shows_what_was_chosen(self, uma: Client) -> None:
        page = html(uma, show="due", sort="score", **{"from": "12"})
        assert '<option value="due" selected>Due soon or overdue</option>' in page
        assert '<option value="score" selected>Lowest score</option>' in page
        assert re.search(r'<input type="number" name="from" value="12"[^>]* id="filter-from"', page)
        assert 'id="filter-show"' in page

    def test_amounts_the_wrong_way_round_are_said_to_be_so(self, uma: Client) -> None:
        words = '<p class="field-error" id="filter-backwards"{}>The first amount is above'
        assert words.format("") in html(uma, **{"from": "2", "to": "1"})
        assert words.format(" hidden") in html(uma, **{"from": "1", "to": "2"})

    @pytest.mark.parametrize(
        ("name", "value", "words"),
        [
            ("show", "nobody's", "This is not known, and left out."),
            ("show", "\0", "This is not known, and left out."),
            ("sort", "-amount", "This is not known: the first due are first."),
            ("from", "much", "This is no whole amount, and left out."),
            ("from", "-1", "This is no whole amount, and left out."),
            ("to", "1.5", "This is no whole amount, and left out."),
            ("to", "9" * 5000, "This is no whole amount, and left out."),
            ("to", '"><script>', "This is no whole amount, and left out."),
        ],
    )
    def test_what_is_no_filter_is_said_to_be_none_and_filters_nothing(
        self, uma: Client, name: str, value: str, words: str
    ) -> None:
        page = html(uma, **{name: value})
        assert words in page
        assert "<script>" not in page
        assert rows(page) == [6, 5, 4, 3, 2, 1]
