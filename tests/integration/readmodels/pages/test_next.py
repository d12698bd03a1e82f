"""Which requests an underwriter is offered as the next one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import pytest
from pytest_django import DjangoAssertNumQueries

from readmodels.models import PendingRequest
from readmodels.pages.next import MOST_OFFERED, ids_to_claim

pytestmark = pytest.mark.django_db

AT: Final = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)
MINUTE: Final = timedelta(minutes=1)


def waiting(number: int, **columns: Any) -> None:
    """Add a request that has waited the longer, the higher its number is."""
    person: Any = {"name": "Ann Example", "national_id": "555555aa", "credit_score": 5}
    requested_at = AT - number * MINUTE
    PendingRequest.objects.create(
        id=UUID(int=number), amount=1000, requested_at=requested_at, **person, **columns
    )


def offered(username: str = "uma", *, is_lead: bool = False) -> list[int]:
    return [each.int for each in ids_to_claim(username, is_lead=is_lead, now=AT)]


def test_those_that_have_waited_longest_come_first() -> None:
    for number in (2, 3, 1):
        waiting(number)
    assert offered() == [3, 2, 1]


def test_claims_that_hold_are_left_out_also_ones_own() -> None:
    waiting(1, claimed_by="uma", claimed_until=AT + MINUTE)
    waiting(2, claimed_by="ursula", claimed_until=AT + MINUTE)
    waiting(3, claimed_by="ursula", claimed_until=AT)
    assert offered() == [3]


def test_those_on_which_one_has_given_an_opinion_are_left_out() -> None:
    waiting(1, votes=[{"by": "ursula"}])
    waiting(2, votes=[{"by": "ursula"}, {"by": "uma"}])
    assert offered() == [1]
    assert offered("ursula") == []


def test_those_that_were_left_to_leads_are_for_leads() -> None:
    waiting(1, escalated_by="ursula")
    waiting(2)
    assert offered() == [2]
    assert offered(is_lead=True) == [2, 1]


def test_those_that_are_gone_are_left_out() -> None:
    waiting(1, gone_at=AT)
    assert offered() == []


def test_50_at_most_in_one_query(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    own: Any = {"votes": [{"by": "uma"}]}
    for number in range(1, 2 * MOST_OFFERED + 1):
        waiting(number, **(own if number % 2 else {}))
    waiting(1_000)
    with django_assert_num_queries(1):
        assert offered() == [1_000, *range(2 * MOST_OFFERED, 2, -2)]
