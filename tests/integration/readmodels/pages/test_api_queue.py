"""The pages of the underwriters' queue in the API, while requests come and go."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode, urlsplit
from uuid import UUID

import pytest
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from loans.domain.policy import Policy
from readmodels.models import PendingRequest, Place
from readmodels.pages.queue_cursor import cursor_at
from tests.support.api import Caller, underwriters_tool
from tests.support.known_policies import STRICT, known

pytestmark = pytest.mark.django_db

AT = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)


@pytest.fixture
def tool() -> Caller:
    return underwriters_tool()


def waiting(number: int, *, minute: int | None = None, **values: Any) -> PendingRequest:
    """Add a request, made so many minutes after `AT` (by default, as many as its number)."""
    usual = {
        "name": f"Number {number}",
        "national_id": "555555aa",
        "amount": 1000,
        "credit_score": 5,
        "requested_at": AT + timedelta(minutes=number if minute is None else minute),
        "revision": 2,
    }
    return PendingRequest.objects.create(id=UUID(int=number), **{**usual, **values})


def claimed(by: str, *, minutes: float = 10) -> dict[str, Any]:
    """What a row has of a claim that runs out in so many minutes."""
    until = timezone.now().replace(microsecond=0) + timedelta(minutes=minutes)
    return {"claimed_by": by, "claimed_until": until}


def page(tool: Caller, **query: Any) -> Any:
    response = tool.get("/underwriting/queue", query)
    assert response.status_code == 200
    return response.json()


def numbers(page: Any) -> list[int]:
    return [UUID(item["id"]).int for item in page["items"]]


def pages(tool: Caller, limit: int, **query: Any) -> Iterator[Any]:
    cursor: dict[str, str] = {}
    while True:
        current = page(tool, limit=limit, **query, **cursor)
        yield current
        if current["next"] is None:
            return
        cursor = {"cursor": current["next"]}


def test_each_request_has_what_an_underwriter_needs(tool: Caller) -> None:
    waiting(1)
    response = tool.get("/underwriting/queue")
    assert response.json() == {
        "items": [
            {
                "id": str(UUID(int=1)),
                "name": "Number 1",
                "national_id": "555555aa",
                "amount": 1000,
                "currency": "GBP",
                "credit_score": 5,
                "factors": [],
                "requested_at": "2026-11-23T09:31:00Z",
                "due_at": "2026-11-25T09:31:00Z",
                "legal_due_at": "2026-12-23T09:31:00Z",
                "awaiting": None,
                "claimed_by": None,
                "claimed_until": None,
                "escalated": False,
                "notes": 0,
                "etag": '"2"',
            }
        ],
        "next": None,
    }
    assert response["Cache-Control"] == "no-store"
    assert "Link" not in response


def test_a_request_says_what_has_lowered_its_score_and_whose_opinion_is_awaited(
    tool: Caller,
) -> None:
    known(3)
    row = waiting(1)
    vote = {"by": "uma", "status": "approved", "policy": 3}
    PendingRequest.objects.filter(id=row.id).update(
        factors=["short_history", "too_young"], policy=3, votes=[vote]
    )
    (item,) = page(tool)["items"]
    assert item["factors"] == [
        {"code": "short_history", "text": "You have borrowed only lately."},
        {"code": "too_young", "text": "too_young"},
    ]
    assert item["awaiting"] == "second opinion"
    disagreement = [vote, {**vote, "by": "ursula", "status": "denied"}]
    PendingRequest.objects.filter(id=row.id).update(votes=disagreement)
    assert page(tool)["items"][0]["awaiting"] == "third opinion"


def test_a_request_says_who_works_on_it_until_that_claim_has_run_out(tool: Caller) -> None:
    live, over = claimed("uma"), claimed("uma", minutes=-1)
    waiting(1, **live, escalated_by="ursula", notes=3)
    waiting(2, **over)
    first, second = page(tool)["items"]
    assert first["claimed_by"] == "uma"
    assert datetime.fromisoformat(first["claimed_until"]) == live["claimed_until"]
    assert (first["escalated"], first["notes"]) == (True, 3)
    assert (second["claimed_by"], second["claimed_until"]) == (None, None)


def test_a_request_is_due_as_the_policy_in_force_promises_and_the_law_wants(tool: Caller) -> None:
    known(3, Policy(decide_within=timedelta(hours=3)))
    waiting(1, minute=0)
    (item,) = page(tool)["items"]
    assert item["due_at"] == "2026-11-23T12:30:00Z"
    assert item["legal_due_at"] == "2026-12-23T09:30:00Z"


class TestFilters:
    @pytest.fixture
    def _six(self) -> None:
        """All but the first are due."""
        known(3, STRICT.model_copy(update={"decide_within": timedelta(days=1)}))
        now = timezone.now()
        waiting(6, requested_at=now)
        waiting(1, requested_at=now - timedelta(hours=20))
        waiting(2, **claimed("uma"))
        waiting(3, **claimed("someone else"))
        waiting(4, **claimed("uma", minutes=-1), amount=10_001)
        waiting(5, amount=10_000, votes=[{"by": "uma", "status": "approved", "policy": 3}])

    @pytest.mark.usefixtures("_six")
    @pytest.mark.parametrize(
        ("query", "shown"),
        [
            ({"show": "all"}, {1, 2, 3, 4, 5, 6}),
            ({"show": "unclaimed"}, {1, 4, 5, 6}),
            ({"show": "mine"}, {2}),
            ({"show": "due"}, {1, 2, 3, 4, 5}),
            ({"show": "large"}, {4}),
            ({"show": "second"}, {5}),
            ({"amount_from": 10_000}, {4, 5}),
            ({"amount_from": 1001, "amount_to": 10_000}, {5}),
            ({"amount_to": 1000, "show": "unclaimed"}, {1, 6}),
            ({"amount_from": 2, "amount_to": 1}, set()),
            ({"amount_from": 2**63 - 1}, set()),
        ],
    )
    def test_those_that_fit_are_shown(
        self, tool: Caller, query: dict[str, Any], shown: set[int]
    ) -> None:
        assert set(numbers(page(tool, **query))) == shown

    def test_nothing_is_above_a_limit_that_there_is_not(self, tool: Caller) -> None:
        waiting(1, amount=9_999_999_999)
        assert numbers(page(tool, show="large")) == []

    def test_pages_go_on_with_the_same_filter(self, tool: Caller) -> None:
        for number in range(1, 11):
            waiting(number, amount=1000 * (number % 2))
        filtered = {"show": "unclaimed", "amount_from": 500, "amount_to": 1500}
        assert [numbers(each) for each in pages(tool, 2, **filtered)] == [[1, 3], [5, 7], [9]]
        seen, path = [], "/underwriting/queue?limit=2&" + urlencode(filtered)
        while path:
            response = tool.get(path)
            seen += numbers(response.json())
            link = re.fullmatch(
                r'<http://testserver/api(.*)>; rel="next"', response.get("Link", "")
            )
            path = link[1] if link else ""
        assert seen == [1, 3, 5, 7, 9]


def test_the_pages_together_are_the_queue_oldest_first(tool: Caller) -> None:
    for number in (3, 1, 5, 2, 4):
        waiting(number)
    assert [numbers(each) for each in pages(tool, limit=2)] == [[1, 2], [3, 4], [5]]
    assert [numbers(each) for each in pages(tool, limit=5)] == [[1, 2, 3, 4, 5]]
    assert [numbers(each) for each in pages(tool, limit=1)] == [[1], [2], [3], [4], [5]]


def test_a_request_that_is_gone_is_left_out(tool: Caller) -> None:
    for number in (1, 2, 3):
        waiting(number)
    PendingRequest.objects.filter(id=UUID(int=2)).update(gone_at=AT)
    assert numbers(page(tool)) == [1, 3]


def test_requests_of_the_same_moment_are_neither_left_out_nor_shown_twice(tool: Caller) -> None:
    for number in range(7):
        waiting(number, minute=0)
    assert [numbers(each) for each in pages(tool, limit=3)] == [[0, 1, 2], [3, 4, 5], [6]]


def test_requests_that_come_and_go_between_pages_shift_nothing(tool: Caller) -> None:
    for number in range(1, 7):
        waiting(number)
    seen = []
    for each in pages(tool, limit=2):
        seen += numbers(each)
        if seen == [1, 2]:
            PendingRequest.objects.filter(id__in=[UUID(int=1), UUID(int=2)]).delete()
        elif seen[-1] == 4:
            waiting(7)
    assert seen == [1, 2, 3, 4, 5, 6, 7]


def test_the_next_page_is_linked_to(tool: Caller) -> None:
    for number in (1, 2, 3):
        waiting(number)
    link = tool.get("/underwriting/queue", {"limit": 2})["Link"]
    match = re.fullmatch(r'<(http://testserver/api/.*)>; rel="next"', link)
    assert match is not None
    target = urlsplit(match[1])
    response = tool.get(f"{target.path.removeprefix('/api')}?{target.query}")
    assert numbers(response.json()) == [3]


def test_a_page_is_two_queries_however_long(
    tool: Caller, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    for number in range(60):
        waiting(number)
    tool.get("/underwriting/queue")
    with django_assert_num_queries(4):  # the token, the user's groups, the policy, the page
        assert len(page(tool, limit=55)["items"]) == 55


LAST_MOMENT = cursor_at(Place(datetime.max.replace(tzinfo=UTC), UUID(int=0)))
FIRST_MOMENT = cursor_at(Place(datetime.min.replace(tzinfo=UTC), UUID(int=0)))


def test_the_first_and_the_last_place_of_all_are_valid(tool: Caller) -> None:
    waiting(1)
    assert numbers(page(tool, cursor=FIRST_MOMENT)) == [1]
    assert numbers(page(tool, cursor=LAST_MOMENT)) == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("cursor", ""),
        ("cursor", "nonsense"),
        ("cursor", "A" * 31),
        ("cursor", "f" + "_" * 31),
        ("cursor", LAST_MOMENT + "A"),
        ("cursor", "é" * 32),
        ("show", "nobody's"),
        ("show", ""),
        ("amount_from", "-1"),
        ("amount_from", "1.5"),
        ("amount_to", "much"),
        ("amount_to", str(2**63)),
        ("amount_to", "9" * 5000),
        ("limit", "0"),
        ("limit", "-1"),
        ("limit", "501"),
        ("limit", "many"),
        ("limit", "9" * 5000),
    ],
)
def test_an_invalid_parameter_is_named(tool: Caller, field: str, value: str) -> None:
    response = tool.get("/underwriting/queue", {field: value})
    assert response.status_code == 422
    assert [each["field"] for each in response.json()["errors"]] == [field]
