"""The fragments that bring an underwriter's page up to date."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.template.loader import render_to_string
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from readmodels.models import LendingPolicy, LoanRequest, PendingRequest
from readmodels.pages import queue_page
from readmodels.pages.claims import Viewer
from readmodels.pages.queue_filter import Sort, Wish
from readmodels.pages.queue_page import FIRST_ROWS, LONGEST_PAGE, QueuePage, QueueReader
from readmodels.pages.queue_rows import QueueRow, Terms
from readmodels.projections.votes import Vote
from tests.support.known_policies import known
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
        factors=[],
        policy=0,
        votes=[],
        notes=0,
        applied_at=None,
        claimed_by="",
        claimed_until=None,
        escalated_by="",
        escalated_because="",
    )


def page(
    *rows: QueueRow, waiting: int | None = None, limit: int | None = None, undo: int = 0
) -> QueuePage:
    terms = Terms(limit, decide_within=timedelta(days=2), undo_seconds=undo)
    return QueuePage(list(rows), len(rows) if waiting is None else waiting, terms)


def vote(by: str, *, is_approval: bool = True) -> Vote:
    return {
        "by": by,
        "status": "approved" if is_approval else "denied",
        "at": AT.isoformat(),
        "note": "Three <loans> run.",
        "reasons": [] if is_approval else ["too_much_debt", "other"],
        "reason_text": "" if is_approval else "We know the house.",
        "policy": 0,
    }


def shown_to(username: str, row: QueueRow, *, is_lead: bool = False) -> str:
    """The list as the page of this underwriter shows it first."""
    viewer = Viewer(username, is_lead=is_lead)
    context = page(row).context(viewer, csrf_token="token")
    return render_to_string("readmodels/_queue.html", context)


def words_in(html: str) -> str:
    """What is not hidden, without the tags."""
    shown = re.sub(r"<(p|button|details|span)\b[^>]* hidden.*?</\1>", "", html, flags=re.DOTALL)
    return " ".join(re.sub("<[^>]*>", " ", shown).split())


def buttons(html: str) -> list[str]:
    """The buttons in a row that are not hidden."""
    return re.findall(r"<button formaction=(?![^>]* hidden)[^>]*>(.*?)</button>", html)


def removed(html: str) -> set[str]:
    """The ids of the rows that the fragments remove."""
    return set(re.findall(r'<tr id="request-(\S+)" hx-swap-oob="delete"></tr>', html))


def added(html: str) -> list[str]:
    """The ids of the rows that the fragments add, or of a new list, in their order."""
    return re.findall(r'<tr id="request-(\S+)" data-(?![^>]*"true")[^>]*>', html)


def changed(html: str) -> list[str]:
    """The ids of the rows that the fragments replace, in their order."""
    return re.findall(r'<tr id="request-(\S+)" data-[^>]* hx-swap-oob="true">', html)


def ids(*rows: QueueRow) -> list[str]:
    return [str(row.id) for row in rows]


def is_listed_anew(html: str) -> bool:
    return '<div id="queue"' in html


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
    assert html.count('hx-swap-oob="beforeend:#queue-rows"') == 1
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


def test_a_request_that_belongs_between_others_is_added_for_the_page_to_put_there() -> None:
    html = page(FIRST, SECOND, THIRD).changes_since(page(FIRST, THIRD))
    assert not is_listed_anew(html)
    assert (removed(html), added(html)) == (set(), ids(SECOND))


@pytest.mark.parametrize(
    "change",
    [
        {"amount": 7},
        {"revision": 3},
        {"claimed_by": "uma", "claimed_until": AT + timedelta(minutes=12)},
        {"notes": 1},
    ],
    ids=str,
)
def test_a_request_that_says_something_else_is_sent_alone(change: dict[str, Any]) -> None:
    html = page(FIRST._replace(**change), SECOND).changes_since(page(FIRST, SECOND))
    assert not is_listed_anew(html)
    assert (removed(html), changed(html), added(html)) == (set(), ids(FIRST), [])


def test_one_changes_while_others_go_and_come() -> None:
    html = page(SECOND._replace(revision=3), THIRD).changes_since(page(FIRST, SECOND))
    assert not is_listed_anew(html)
    assert (removed(html), changed(html)) == (set(ids(FIRST)), ids(SECOND))
    assert added(html) == ids(THIRD)
    assert 'name="shown_revision" value="3"' in html


def test_rows_in_another_order_are_listed_anew() -> None:
    html = page(SECOND, FIRST).changes_since(page(FIRST, SECOND))
    assert is_listed_anew(html)


def test_another_promise_has_the_list_sent_anew() -> None:
    before = page(FIRST)
    shorter = before.terms._replace(decide_within=timedelta(hours=1))
    html = replace(before, terms=shorter).changes_since(before)
    assert is_listed_anew(html)
    assert 'data-due="2026-11-23T10:31:00+00:00"' in html


def test_a_request_that_waits_behind_the_page_changes_the_number_only() -> None:
    html = page(FIRST, waiting=1_202).changes_since(page(FIRST, waiting=1_201))
    assert not is_listed_anew(html)
    assert (removed(html), added(html)) == (set(), [])
    assert "1,202 requests are waiting" in html


def test_an_amount_above_the_limit_is_said_to_take_two() -> None:
    words = "Above £1,000,000: it takes two to approve."
    assert words in page(FIRST, limit=1_000_000).changes_since(None)
    assert "it takes two" not in page(FIRST, limit=FIRST.amount).changes_since(None)
    assert "it takes two" not in page(FIRST).changes_since(None)


def test_another_time_to_undo_has_the_list_sent_anew() -> None:
    html = page(FIRST, undo=7).changes_since(page(FIRST, undo=5))
    assert is_listed_anew(html)
    assert 'data-undo-seconds="7"' in html


def test_another_limit_has_the_list_sent_anew() -> None:
    html = page(FIRST, limit=7).changes_since(page(FIRST))
    assert is_listed_anew(html)
    assert "it takes two to approve" in html


def test_what_has_lowered_the_score_is_in_words() -> None:
    factors = FIRST._replace(factors=["short_history", "late_payments"])
    assert "Lowered the score: short_history late_payments" in page(factors).changes_since(None)


class TestOpinions:
    def test_the_second_sees_who_when_and_why_and_that_it_decides(self) -> None:
        shown = words_in(shown_to("ursula", FIRST._replace(votes=[vote("uma")])))
        for words in ("Second opinion", "uma would approve, 23 Nov 2026, 09:30 UTC ."):
            assert words in shown
        assert "Three &lt;loans&gt; run." in shown
        assert "Your approval decides." in shown
        assert "You would approve" not in shown
        assert "Approve Deny" in shown

    def test_the_third_sees_the_reasons_too(self) -> None:
        votes = [vote("uma"), vote("ursula", is_approval=False)]
        shown = words_in(shown_to("ulf", FIRST._replace(votes=votes)))
        assert "Disagreement" in shown
        assert "ursula would deny" in shown
        assert "Too much debt, Another reason, “We know the house.”" in shown
        assert "Your opinion decides." in shown
        assert "Approve Deny" in shown

    def test_who_would_approve_is_not_asked_again_but_may_deny(self) -> None:
        shown = words_in(shown_to("uma", FIRST._replace(votes=[vote("uma")])))
        assert "You would approve it: somebody else decides." in shown
        assert "Your approval" not in shown
        assert "Approve" not in shown
        assert "Deny" in shown

    def test_who_would_deny_may_approve(self) -> None:
        votes = [vote("uma"), vote("ursula", is_approval=False)]
        shown = words_in(shown_to("ursula", FIRST._replace(votes=votes)))
        assert "You would deny it: somebody else decides, unless you approve it" in shown
        assert "Your opinion" not in shown
        assert "Approve Deny" in shown

    def test_a_frame_is_for_nobody_in_particular_and_says_who_would_do_what(self) -> None:
        html = page(FIRST._replace(votes=[vote("u<m>a")])).changes_since(page(FIRST))
        assert 'data-for="u&lt;m&gt;a" data-against=""' in html
        assert "Your approval decides." in words_in(html)


def held(by: str, *, minutes: float = 12, **changes: Any) -> QueueRow:
    """A request that somebody works on for some minutes more."""
    until = timezone.now() + timedelta(minutes=minutes)
    return FIRST._replace(claimed_by=by, claimed_until=until, **changes)


class TestClaims:
    """What the page says and offers before any script has run."""

    def test_nobodys_request_may_be_claimed_and_decided(self) -> None:
        html = shown_to("uma", FIRST)
        assert buttons(html) == [
            "Claim",
            "Approve",
            "Deny",
            "Approve with a note",
            "Escalate",
        ]
        assert "left" not in words_in(html)

    def test_a_colleagues_takes_the_buttons_away_and_says_for_how_long(self) -> None:
        html = shown_to("ursula", held("uma"))
        assert "uma , 12 min left" in words_in(html)
        assert buttons(html) == []
        assert f'href="{FIRST.id}/"' in html

    def test_a_lead_may_hand_it_over(self) -> None:
        assert buttons(shown_to("lea", held("uma"), is_lead=True)) == ["Hand over"]

    def test_ones_own_may_be_released_handed_over_and_decided(self) -> None:
        html = shown_to("uma", held("uma"))
        assert "You , 12 min left" in words_in(html)
        assert buttons(html) == [
            "Release", "Approve", "Deny", "Approve with a note", "Hand over", "Escalate",
        ]  # fmt: skip

    def test_one_that_has_run_out_counts_for_nothing(self) -> None:
        row = held("uma", minutes=-1)
        for username in ("uma", "ursula"):
            assert buttons(shown_to(username, row)) == buttons(shown_to(username, FIRST))
            assert "uma" not in words_in(shown_to(username, row))

    def test_what_was_left_to_leads_is_for_them(self) -> None:
        row = FIRST._replace(escalated_by="uma", escalated_because="The <house> is not theirs.")
        html = shown_to("ursula", row)
        assert "Escalated By uma : The &lt;house&gt; is not theirs." in words_in(html)
        assert buttons(html) == []
        assert buttons(shown_to("lea", row, is_lead=True)) == [
            "Claim", "Approve", "Deny", "Approve with a note", "Hand over",
        ]  # fmt: skip

    def test_only_the_page_has_a_token(self) -> None:
        assert shown_to("uma", FIRST).count('value="token"') == 1
        assert 'value="token"' not in page(FIRST).changes_since(None)

    def test_a_frame_is_for_anybody(self) -> None:
        html = page(held("u<m>a", escalated_by="ulf")).changes_since(page(FIRST))
        assert 'data-claimed-by="u&lt;m&gt;a"' in html
        assert "<strong>u&lt;m&gt;a</strong>" in html
        assert " data-escalated" in html
        assert len(buttons(html)) == 7
        assert "\0" not in html


LONG_LIST = [FIRST._replace(id=uuid4(), amount=1000 + number) for number in range(3 * FIRST_ROWS)]


class TestALongList:
    def test_is_loaded_with_its_first_rows(self) -> None:
        context = page(*LONG_LIST).context(most=FIRST_ROWS)
        assert added("".join(context["rows"])) == ids(*LONG_LIST[:FIRST_ROWS])
        assert not context["has_all"]
        assert context["fitting"] == len(LONG_LIST)

    def test_is_loaded_with_the_first_that_somebody_wants(self) -> None:
        wish = Wish(sort=Sort.AMOUNT, at_most=1010)
        context = page(*LONG_LIST).context(wish=wish, most=FIRST_ROWS)
        assert added("".join(context["rows"])) == ids(*reversed(LONG_LIST[:11]))
        assert not context["has_all"]

    def test_comes_in_parts_and_says_when_that_was_all(self) -> None:
        *parts, last = page(*LONG_LIST).rest
        assert [each for part in parts for each in added(part)] == ids(*LONG_LIST)
        assert len(parts) > 1
        assert last == '<p id="queue-rest" hx-swap-oob="delete"></p>'

    def test_is_there_at_once_if_it_is_not_that_long(self) -> None:
        short = page(*LONG_LIST[:FIRST_ROWS])
        assert short.context(most=FIRST_ROWS)["has_all"]
        assert short.rest == []


class TestTerms:
    @pytest.mark.parametrize(
        ("age", "due", "law"),
        [
            (timedelta(hours=1), ("fine", "in 46 hours"), ("fine", "in 29 days")),
            (timedelta(hours=37), ("soon", "soon, in 10 hours"), ("fine", "in 28 days")),
            (timedelta(days=4), ("over", "2 days overdue"), ("fine", "in 25 days")),
            (timedelta(days=23), ("over", "21 days overdue"), ("soon", "soon, in 6 days")),
            (timedelta(days=31), ("over", "29 days overdue"), ("over", "24 hours overdue")),
        ],
    )
    def test_are_in_words_and_not_in_colours_alone(
        self, age: timedelta, due: tuple[str, str], law: tuple[str, str]
    ) -> None:
        now = timezone.now() - timedelta(seconds=5)
        html = shown_to("uma", FIRST._replace(requested_at=now - age))
        for (state, words), which in ((due, "due"), (law, "law")):
            assert f'<span class="clock is-{state}" data-ends="{which}">{words}</span>' in html

    def test_a_row_says_when_the_applicant_applied(self) -> None:
        now = timezone.now()
        row = FIRST._replace(requested_at=now, applied_at=now - timedelta(hours=3, minutes=5))
        assert "3 hours ago" in words_in(shown_to("uma", row))


MANY = [pending(minute) for minute in range(LONGEST_PAGE)]


class TestTheSizeOfAFrame:
    def size(self, row: QueueRow) -> int:
        before = page(*MANY, limit=7)
        return len(page(row, *MANY[1:], limit=7).changes_since(before).encode())

    def test_of_a_claim_is_small_however_many_wait(self) -> None:
        first, until = MANY[0], timezone.now() + timedelta(minutes=9)
        assert self.size(first._replace(claimed_by="uma", claimed_until=until)) < 4_000

    def test_is_bounded_whatever_people_have_written(self) -> None:
        said = vote("ursula", is_approval=False)
        said |= {"note": "N" * 500, "reason_text": "R" * 200}
        talked_of = MANY[0]._replace(
            name="W" * 200,
            amount=9_999_999_999,
            claimed_by="uma",
            claimed_until=timezone.now() + timedelta(minutes=9),
            escalated_by="ulf",
            escalated_because="E" * 500,
            factors=["short_history" * 4] * 4,
            notes=100,
            votes=[said],
        )
        assert self.size(talked_of) < 5_000
        assert self.size(talked_of._replace(votes=[said, said | {"by": "ulf"}])) < 5_500


@pytest.mark.django_db
class TestRead:
    def test_the_oldest_come_first(self, django_assert_num_queries: DjangoAssertNumQueries) -> None:
        rows = [pending(minute) for minute in (3, 1, 2)]
        insert(rows)
        with django_assert_num_queries(3):
            read = QueuePage.read()
        assert (read.rows, read.waiting) == ([rows[1], rows[2], rows[0]], 3)

    def test_more_than_fit_on_a_page_are_counted(
        self, django_assert_num_queries: DjangoAssertNumQueries
    ) -> None:
        rows = [pending(minute) for minute in range(LONGEST_PAGE + 2)]
        insert(rows)
        with django_assert_num_queries(4):
            read = QueuePage.read()
        assert (read.rows, read.waiting) == (rows[:LONGEST_PAGE], LONGEST_PAGE + 2)

    def test_as_many_as_fit_are_not_counted(
        self, django_assert_num_queries: DjangoAssertNumQueries
    ) -> None:
        insert(pending(minute) for minute in range(LONGEST_PAGE))
        with django_assert_num_queries(3):
            assert QueuePage.read().waiting == LONGEST_PAGE

    def test_the_limit_is_that_of_the_policy_in_force(self) -> None:
        known(1)
        known(2, since=timezone.now() + timedelta(hours=1))
        assert QueuePage.read().terms.four_eyes_above == 10_000
        LendingPolicy.objects.all().delete()
        assert QueuePage.read().terms.four_eyes_above is None

    def test_what_people_have_decided_today_is_counted_and_nobody_is_compared(self) -> None:
        today = timezone.localtime()
        deciders = [("uma", today), ("uma", today), ("ursula", today), ("", today)]
        for decided_by, decided_at in [*deciders, ("uma", today - timedelta(days=1))]:
            LoanRequest.objects.create(
                id=uuid4(),
                status="approved",
                amount=7,
                requested_at=AT,
                decided_at=decided_at,
                decided_by=decided_by,
            )
        read = QueuePage.read()
        assert read.context(Viewer("uma"))["own_decisions"] == 2
        assert read.context(Viewer("ulf"))["own_decisions"] == 0
        html = read.changes_since(None)
        assert 'data-decided-today="3"' in html
        assert "uma" not in html

    def test_what_has_not_changed_is_not_read_again(
        self,
        django_assert_num_queries: DjangoAssertNumQueries,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(queue_page, "_SECONDS_BETWEEN_TERMS", math.inf)
        rows = [pending(minute) for minute in range(4)]
        insert(rows)
        read = QueueReader()
        first = read()
        with django_assert_num_queries(2):
            assert read() == first
        changed = PendingRequest.objects.filter(id=rows[1].id)
        changed.update(revision=rows[1].revision + 1, claimed_by="uma")
        PendingRequest.objects.filter(id=rows[2].id).delete()
        new = pending(5)
        insert([new])
        with django_assert_num_queries(3):
            second = read()
        assert second == QueuePage.read()
        assert [row.id for row in second.rows] == [rows[0].id, rows[1].id, rows[3].id, new.id]
        assert second.rows[1].claimed_by == "uma"
        assert second.rows[0] is first.rows[0]

    def test_what_changed_without_a_new_revision_is_read_within_seconds(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        row = pending(1)
        insert([row])
        read = QueueReader()
        read()
        PendingRequest.objects.update(name="Rebuilt")
        monkeypatch.setattr(queue_page, "_SECONDS_BETWEEN_WHOLE_READS", 0)
        assert read().rows == [row._replace(name="Rebuilt")]

    def test_what_another_policy_says_is_read_within_a_second(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        read = QueueReader()
        assert read().terms.four_eyes_above is None
        known(1)
        monkeypatch.setattr(queue_page, "_SECONDS_BETWEEN_TERMS", 0)
        assert read().terms.four_eyes_above == 10_000

    def test_many_changes_are_read_at_once(self) -> None:
        read = QueueReader()
        read()
        rows = [pending(minute) for minute in range(150)]
        insert(rows)
        assert read().rows == rows

    def test_the_next_one_moves_up_when_one_of_a_full_page_is_decided(self) -> None:
        rows = [pending(minute) for minute in range(LONGEST_PAGE + 1)]
        insert(rows)
        before = QueuePage.read()
        PendingRequest.objects.filter(id=rows[0].id).delete()

        html = QueuePage.read().changes_since(before)

        assert (removed(html), added(html)) == (set(ids(rows[0])), ids(rows[-1]))
        assert not is_listed_anew(html)
