"""The underwriters' page of one request: all that there is to know before one decides."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from lepret.common.event_store_client import event_store_client
from loans.adapters.codec import stream_name
from readmodels.models import LoanRequest
from readmodels.pages.request_page import MOST_EARLIER, RequestReader
from tests.support.known_policies import known
from tests.support.loans import AT, append_approval, append_note, append_requested_loan
from tests.support.staff import make_clerk

pytestmark = [pytest.mark.usefixtures("streams", "underwriter"), pytest.mark.django_db]

HTMX = {"HX-Request": "true"}
PERSON = "555555aa"
UNDER_REVIEW = {"status": "under_review", "passed_on_at": AT, "review_policy": 0}


def loan(**changes: Any) -> LoanRequest:
    row = {
        "id": uuid4(),
        "name": "Ann Example",
        "national_id": PERSON,
        "amount": 5000,
        "address": "1 High Street",
        "credit_score": 6,
        "scored_at": AT,
        "requested_at": AT,
        "revision": 2,
        **UNDER_REVIEW,
        **changes,
    }
    return LoanRequest.objects.create(**row)


def vote(by: str, status: str = "approved", **changes: Any) -> dict[str, Any]:
    said = {"note": "", "reasons": [], "reason_text": "", "policy": 0}
    return {"by": by, "status": status, "at": AT.isoformat(), **said, **changes}


def note(text: str, by: str = "una") -> dict[str, str]:
    return {"by": by, "at": AT.isoformat(), "text": text}


def page_of(client: Client, loan_request_id: UUID) -> str:
    response = client.get(f"/underwriting/{loan_request_id}/")
    assert response.status_code == 200
    return response.content.decode()


def words_of(html: str) -> str:
    return " ".join(re.sub("<[^>]*>", " ", html).split())


def test_it_shows_the_facts(client: Client) -> None:
    known(3)
    row = loan(
        review_policy=3, policy=3, amount=20_000, factors=["short_history"], agency="A bureau"
    )
    words = words_of(page_of(client, row.id))
    for shown in (
        "Ann Example",
        PERSON,
        "1 High Street",
        "£20,000",
        "Under review , waiting since 23 Nov 2026",
        "Score 6, on a scale of 1 to 10",
        "by A bureau",
        "You have borrowed only lately.",
        "Above £10,000: it takes two to approve.",
    ):
        assert shown in words


@pytest.mark.parametrize(
    ("amount", "review", "others"),
    [
        (
            5000,
            "the score was 6 and policy 3 leaves 5 to 6 to people.",
            "Policy 3: 7 or more would have been approved at once.",
        ),
        (
            20_000,
            "the score was 6 and policy 3 leaves 5 to 6 to people.",
            "Policy 3: No score is enough to be approved at once above 10,000.",
        ),
    ],
)
def test_it_says_which_rule_left_it_to_people_and_what_other_scores_would_have_led_to(
    client: Client, amount: int, review: str, others: str
) -> None:
    known(3)
    words = words_of(page_of(client, loan(review_policy=3, policy=3, amount=amount).id))
    assert review in words
    assert others in words


def test_it_shows_earlier_requests_of_the_same_person_and_of_nobody_else(client: Client) -> None:
    before = AT - timedelta(days=30)
    approved = loan(amount=111, status="approved", requested_at=before, decided_at=before)
    denied = loan(
        amount=222,
        status="denied",
        credit_score=3,
        requested_at=before - timedelta(days=1),
        decided_at=before,
        reasons=["too_much_debt"],
    )
    loan(amount=333, national_id="555555ab", requested_at=before)
    later = loan(amount=444, requested_at=AT + timedelta(days=1))
    html = page_of(client, loan().id)
    assert re.findall(r"<li><a href=\"([^\"]*)\">(£\d+)", html) == [
        (f"/underwriting/{approved.id}/", "£111"),
        (f"/underwriting/{denied.id}/", "£222"),
    ]
    assert "denied, score 3: Too much debt" in words_of(html)
    assert str(later.id) not in html


def test_it_shows_the_newest_of_many_earlier_requests(client: Client) -> None:
    for days in range(MOST_EARLIER + 1):
        loan(amount=100 + days, requested_at=AT - timedelta(days=1 + days))
    html = page_of(client, loan().id)
    assert len(re.findall(r'<li><a href="/underwriting/[0-9a-f-]{36}/"', html)) == MOST_EARLIER
    assert "£120" not in html


def test_of_a_person_without_earlier_requests_it_says_so(client: Client) -> None:
    assert "Earlier requests of this person None." in words_of(page_of(client, loan().id))


def test_it_tells_what_has_happened_in_words(client: Client) -> None:
    id_ = append_requested_loan(score=6).loan_request_id
    append_note(id_)
    append_approval(id_)
    words = words_of(page_of(client, loan(id=id_).id))
    happened = words[words.index("What has happened") :]
    expected = [
        "Applied , applicant",
        "Credit checked , credit bureau score: 6",
        "Passed to an underwriter , automatic rules score: 6; policy: 0",
        "Note added , una",
        "Approved , uma note: a good customer; policy: 0",
    ]
    places = [happened.index(each) for each in expected]
    assert places == sorted(places)
    assert "ManuallyApproved" not in words


@pytest.mark.usefixtures("no_event_store")
def test_without_the_event_store_it_comes_without_its_history_and_says_so(client: Client) -> None:
    words = words_of(page_of(client, loan().id))
    assert "Ann Example" in words
    assert "The event store does not answer at the moment" in words


class TestOpinions:
    VOTES = (vote("uma"), vote("una", "denied", reasons=["too_much_debt"], note="Three loans."))

    def test_are_shown_and_whose_it_takes(self, client: Client) -> None:
        words = words_of(page_of(client, loan(votes=self.VOTES).id))
        assert "Disagreement uma would approve" in words
        assert "una would deny" in words
        assert "Too much debt" in words
        assert "Three loans." in words

    def test_stay_when_it_is_decided_without_asking_for_more(self, client: Client) -> None:
        decided = {"status": "approved", "decided_at": AT, "decided_by": "ulf"}
        words = words_of(page_of(client, loan(votes=self.VOTES, **decided).id))
        assert "una would deny" in words
        assert "Disagreement" not in words

    def test_who_would_approve_it_is_not_asked_again(self, client: Client) -> None:
        hidden = re.compile(r'<form id="approve"[^>]*class="approve" hidden')
        assert hidden.search(page_of(client, loan(votes=[vote("walter")]).id)) is None
        assert hidden.search(page_of(client, loan(votes=[vote("uma")]).id)) is not None


class TestDeciding:
    def test_the_forms_name_the_revision_that_is_shown(self, client: Client) -> None:
        html = page_of(client, loan(revision=17).id)
        for form in ("approve", "ask-reasons", "add-note"):
            assert f'<form id="{form}"' in html
            assert f'name="shown_revision" value="17" form="{form}"' in html

    @pytest.mark.parametrize(
        ("end", "words"),
        [
            (
                {"status": "approved", "decided_by": "uma", "together_with": ["una"]},
                "Approved . Decided by una and uma",
            ),
            (
                {"status": "denied", "decided_by": "uma", "reasons": ["too_much_debt"]},
                "Reasons: Too much debt",
            ),
            ({"status": "denied", "note": "Three loans."}, "Note: Three loans."),
            ({"status": "denied"}, "Denied at once on 23 November 2026"),
            ({"gone_at": AT}, "No longer on record."),
        ],
    )
    def test_what_is_over_has_no_buttons_and_says_how_it_ended(
        self, client: Client, end: dict[str, Any], words: str
    ) -> None:
        html = page_of(client, loan(decided_at=None if "gone_at" in end else AT, **end).id)
        assert words in words_of(html)
        assert 'id="approve"' not in html
        assert 'id="ask-reasons"' not in html
        assert "Ann Example" in html


class TestNotes:
    def test_are_shown_as_text(self, client: Client) -> None:
        html = page_of(client, loan(notes=[note("<script>alert(1)</script>"), note("b")]).id)
        assert "&lt;script&gt;alert(1)" in html
        assert "<script>alert" not in html

    def test_the_form_says_that_they_are_part_of_an_export(self, client: Client) -> None:
        assert "part of the export of their data" in page_of(client, loan().id)


class TestWhatIsNotThere:
    def test_of_nobody_there_is_no_page(self, client: Client) -> None:
        assert client.get(f"/underwriting/{uuid4()}/").status_code == 404

    def test_of_what_was_recorded_a_moment_ago_it_says_so(self, client: Client) -> None:
        id_ = append_requested_loan(score=5).loan_request_id
        words = words_of(page_of(client, id_))
        assert "It appears here by itself." in words
        assert "Passed to an underwriter" in words

    def test_of_what_was_deleted_before_it_was_known_there_is_no_page(self, client: Client) -> None:
        id_ = append_requested_loan(score=5).loan_request_id
        event_store_client().delete_stream(stream_name(id_), current_version=2)
        assert client.get(f"/underwriting/{id_}/").status_code == 404


def test_a_clerk_is_refused(client: Client) -> None:
    client.force_login(make_clerk())
    assert client.get(f"/underwriting/{loan().id}/").status_code == 403


def test_it_takes_few_queries(
    client: Client, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    known(7)
    named = {"policy": 7, "review_policy": 7, "reasons": ["too_much_debt"]}
    row = loan(**named, votes=[vote("uma", policy=7)])
    for days in range(1, 4):
        loan(**named, requested_at=AT - timedelta(days=days))
    # The row, the version that it names, the version in force, and the earlier requests.
    with django_assert_num_queries(4):
        RequestReader(row.id)()
    # Session, user, second factor, groups, and what is next; the version is known by now.
    with django_assert_num_queries(4 + 1 + 3):
        page_of(client, row.id)


def test_htmx_is_given_what_may_have_changed(client: Client) -> None:
    html = client.get(f"/underwriting/{loan().id}/", headers=HTMX).content.decode()
    assert '<div id="request"' in html
    assert 'id="request-past"' in html
    assert "<form" not in html


class TestItsReader:
    def test_reads_the_history_only_once_it_has_changed(self) -> None:
        id_ = append_requested_loan(score=6).loan_request_id
        row = loan(id=id_)
        read = RequestReader(id_)
        first = read()
        append_note(id_, "Seen by nobody yet.")
        assert read() == first
        row.revision = 3
        row.save()
        assert "Note added" in words_of(read().html)

    @pytest.mark.usefixtures("no_event_store")
    def test_without_the_event_store_says_so(self) -> None:
        assert "does not answer" in RequestReader(loan().id)().html

    def test_is_the_same_for_everybody(self) -> None:
        html = RequestReader(loan(votes=[vote("uma")]).id)().html
        assert '<li data-by="uma" data-would="approve">' in html
        assert '<p data-for="approve" hidden>' in html

    def test_sends_all_of_it_if_anything_has_changed(self) -> None:
        row = loan()
        read = RequestReader(row.id)
        before = read()
        row.notes = [note("Called.")]
        row.save()
        after = read()
        assert after.changes_since(before) == after.html
        assert after.changes_since(after) == ""
