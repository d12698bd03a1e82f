"""The pages of the underwriters' queue in the API, while requests come and go."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import pytest
from pytest_django import DjangoAssertNumQueries

from readmodels.models import PendingRequest, Place
from readmodels.pages.queue_cursor import cursor_at
from tests.support.api import Caller, underwriters_tool

pytestmark = pytest.mark.django_db

AT = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)


@pytest.fixture
def tool() -> Caller:
    return underwriters_tool()


def waiting(number: int, *, minute: int | None = None) -> PendingRequest:
    """Add a request, made so many minutes after `AT` (by default, as many as its number)."""
    return PendingRequest.objects.create(
        id=UUID(int=number),
        name=f"Number {number}",
        national_id="555555aa",
        amount=1000,
        credit_score=5,
        requested_at=AT + timedelta(minutes=number if minute is None else minute),
        revision=2,
    )


def page(tool: Caller, **query: Any) -> Any:
    response = tool.get("/underwriting/queue", query)
    assert response.status_code == 200
    return response.json()


def numbers(page: Any) -> list[int]:
    return [UUID(item["id"]).int for item in page["items"]]


def pages(tool: Caller, limit: int) -> Iterator[Any]:
    cursor: dict[str, str] = {}
    while True:
        current = page(tool, limit=limit, **cursor)
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
                "requested_at": "2026-11-23T09:31:00Z",
                "etag": '"2"',
            }
        ],
        "next": None,
    }
    assert response["Cache-Control"] == "no-store"
    assert "Link" not in response


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


def test_a_page_is_one_query_however_long(
    tool: Caller, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    for number in range(60):
        waiting(number)
    tool.get("/underwriting/queue")
    with django_assert_num_queries(3):  # the token, the user's groups, the page
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
