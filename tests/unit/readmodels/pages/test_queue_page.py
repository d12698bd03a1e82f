"""The fragments that bring an underwriter's page up to date."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import timedelta
from uuid import uuid4

import pytest
from pytest_django import DjangoAssertNumQueries

from readmodels.models import PendingRequest
from readmodels.pages.queue_page import LONGEST_PAGE, QueuePage, QueueRow
from tests.support.loans import AT


def pending(minute: int) -> QueueRow:
    """A request that came in at that minute."""
    return QueueRow(
        id=uuid4(),
        name="Ann Example",
        national_id="555555aa",
        amount=1_234_567,
        credit_score=5,
        requested_at=AT + timedelta(minutes=minute),
        revision=2,
    )


def page(*rows: QueueRow, waiting: int | None = None) -> QueuePage:
    return QueuePage(list(rows), len(rows) if waiting is None else waiting)


def removed(html: str) -> set[str]:
    """The ids of the rows that the fragments remove."""
    return set(re.findall(r'<tr id="request-(\S+)" hx-swap-oob="delete"></tr>', html))


def added(html: str) -> list[str]:
    """The ids of the rows that the fragments add, in their order."""
    return re.findall(r'<tr id="request-(\S+)">', html)


def ids(*rows: QueueRow) -> list[str]:
    return [str(row.id) for row in rows]


def is_listed_anew(html: str) -> bool:
    return '<div id="queue">' in html


def insert(rows: Iterable[QueueRow]) -> None:
    PendingRequest.objects.bulk_create(PendingRequest(**row._asdict()) for row in rows)


FIRST, SECOND, THIRD = pending(1), pending(2), pending(3)


def test_a_page_that_shows_nothing_yet_gets_the_list() -> None:
    html = page(FIRST, SECOND).changes_since(None)
    assert is_listed_anew(html)
    assert added(html) == ids(FIRST, SECOND)
    assert "2 requests are waiting" in html


def test_an_empty_queue_is_listed_too() -> None:
    html = page().changes_since(None)
    assert is_listed_anew(html)
    assert "Nothing to decide" in html


def test_a_row_shows_what_an_underwriter_must_know() -> None:
    html = page(FIRST).changes_since(page())
    for shown in ("Ann Example", "£1,234,567", "555555aa", ">5<", "2026-11-23T09:31:00+00:00"):
        assert shown in html


def test_nothing_is_sent_when_nothing_has_changed() -> None:
    assert page(FIRST).changes_since(page(FIRST)) == ""


def test_a_new_request_is_added_at_the_end() -> None:
    html = page(FIRST, SECOND).changes_since(page(FIRST))
    assert not is_listed_anew(html)
    assert '<tbody id="queue-rows" hx-swap-oob="beforeend">' in html
    assert (removed(html), added(html)) == (set(), ids(SECOND))
    assert "2 requests are waiting" in html


def test_a_decided_request_is_removed() -> None:
    html = page(SECOND).changes_since(page(FIRST, SECOND))
    assert not is_listed_anew(html)
    assert (removed(html), added(html)) == (set(ids(FIRST)), [])
    assert "One request is waiting" in html


def test_one_goes_and_another_comes() -> None:
    html = page(SECOND, THIRD).changes_since(page(FIRST, SECOND))
    assert not is_listed_anew(html)
    assert (removed(html), added(html)) == (set(ids(FIRST)), ids(THIRD))


def test_a_request_that_belongs_between_others_has_the_list_sent_anew() -> None:
    html = page(FIRST, SECOND, THIRD).changes_since(page(FIRST, THIRD))
    assert is_listed_anew(html)
    assert added(html) == ids(FIRST, SECOND, THIRD)


def test_a_request_that_says_something_else_has_the_list_sent_anew() -> None:
    html = page(FIRST._replace(amount=7), SECOND).changes_since(page(FIRST, SECOND))
    assert is_listed_anew(html)
    assert ">£7<" in html


def test_a_request_whose_stream_has_moved_on_has_the_list_sent_anew() -> None:
    html = page(FIRST._replace(revision=3), SECOND).changes_since(page(FIRST, SECOND))
    assert is_listed_anew(html)
    assert 'name="shown_revision" value="3"' in html


def test_a_request_that_waits_behind_the_page_changes_the_number_only() -> None:
    html = page(FIRST, waiting=1_202).changes_since(page(FIRST, waiting=1_201))
    assert not is_listed_anew(html)
    assert (removed(html), added(html)) == (set(), [])
    assert "1,202 requests are waiting" in html


@pytest.mark.django_db
class TestRead:
    def test_the_oldest_come_first(self, django_assert_num_queries: DjangoAssertNumQueries) -> None:
        rows = [pending(minute) for minute in (3, 1, 2)]
        insert(rows)
        with django_assert_num_queries(1):
            read = QueuePage.read()
        assert (read.rows, read.waiting) == ([rows[1], rows[2], rows[0]], 3)

    def test_more_than_fit_on_a_page_are_counted(
        self, django_assert_num_queries: DjangoAssertNumQueries
    ) -> None:
        rows = [pending(minute) for minute in range(LONGEST_PAGE + 2)]
        insert(rows)
        with django_assert_num_queries(2):
            read = QueuePage.read()
        assert (read.rows, read.waiting) == (rows[:LONGEST_PAGE], LONGEST_PAGE + 2)

    def test_as_many_as_fit_take_one_query(
        self, django_assert_num_queries: DjangoAssertNumQueries
    ) -> None:
        insert(pending(minute) for minute in range(LONGEST_PAGE))
        with django_assert_num_queries(1):
            assert QueuePage.read().waiting == LONGEST_PAGE

    def test_the_next_one_moves_up_when_one_of_a_full_page_is_decided(self) -> None:
        rows = [pending(minute) for minute in range(LONGEST_PAGE + 1)]
        insert(rows)
        before = QueuePage.read()
        PendingRequest.objects.filter(id=rows[0].id).delete()

        html = QueuePage.read().changes_since(before)

        assert (removed(html), added(html)) == (set(ids(rows[0])), ids(rows[-1]))
        assert not is_listed_anew(html)
