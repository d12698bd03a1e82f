"""Notes of underwriters by the form: recorded once, and read before one decides."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest
from django.contrib.auth.models import User
from django.test import Client

from lepret.common.event_store_client import event_store_client
from loans.adapters.codec import stream_name
from loans.domain.loan_request import MOST_NOTES
from tests.support.loans import (
    UNDER_REVIEW_AT,
    append_approval,
    append_note,
    append_requested_loan,
    notes_of,
)
from tests.support.lost_streams import WAYS, Way

pytestmark = [pytest.mark.usefixtures("streams"), pytest.mark.django_db]

HTMX = {"HX-Request": "true"}
TEXT = "Called, no answer."


@pytest.fixture
def loan() -> UUID:
    """A request that is under review."""
    return append_requested_loan(score=5).loan_request_id


def send(client: Client, loan: UUID, text: str = TEXT, *, shown: Any = 2, **options: Any) -> Any:
    fields = {"text": text, "shown_revision": shown}
    return client.post(f"/underwriting/{loan}/notes/", fields, **options)


@pytest.mark.usefixtures("no_patience")
class TestTheForm:
    def test_records_the_note_as_the_underwriters(
        self, client: Client, underwriter: User, loan: UUID
    ) -> None:
        response = send(client, loan, headers=HTMX)
        html = response.content.decode()
        assert response.status_code == 200
        assert "Your note is recorded." in html
        assert TEXT not in html, "the form is empty again"
        assert notes_of(loan) == [(underwriter.username, TEXT)]

    @pytest.mark.usefixtures("underwriter")
    def test_without_htmx_leads_back_to_the_page(self, client: Client, loan: UUID) -> None:
        response = send(client, loan)
        assert response.status_code == 302
        assert response["Location"].startswith(f"/underwriting/{loan}/?after=")

    @pytest.mark.usefixtures("underwriter")
    def test_sent_twice_adds_one(self, client: Client, loan: UUID) -> None:
        assert [send(client, loan, headers=HTMX).status_code for _ in range(2)] == [200, 200]
        assert len(notes_of(loan)) == 1
        assert send(client, loan, shown=3, headers=HTMX).status_code == 200
        assert len(notes_of(loan)) == 2, "on a later screen, it is another"

    @pytest.mark.usefixtures("underwriter")
    def test_takes_a_note_on_an_old_screen_and_on_what_is_decided(
        self, client: Client, loan: UUID
    ) -> None:
        append_approval(loan)
        assert send(client, loan, headers=HTMX).status_code == 200
        assert len(notes_of(loan)) == 1

    @pytest.mark.usefixtures("underwriter")
    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            ("", "This field is required."),
            (" \n ", "This field is required."),
            ("<b>" + "x" * 500, "At most 500 characters."),
            ("a\x00b", "No control characters"),
        ],
        ids=["empty", "blank", "too long", "control character"],
    )
    @pytest.mark.parametrize("headers", [HTMX, {}], ids=["htmx", "plain"])
    def test_says_beside_the_field_what_is_wrong_and_keeps_what_was_typed(
        self, client: Client, loan: UUID, text: str, problem: str, headers: dict[str, str]
    ) -> None:
        response = send(client, loan, text, headers=headers)
        html = response.content.decode()
        assert response.status_code == 422
        assert f'class="field-error" role="alert">{problem}' in html
        assert "<b>" not in html
        assert "x" * 500 not in text or "x" * 500 in html
        assert ("<!doctype html>" in html) is (headers == {})
        assert notes_of(loan) == []

    @pytest.mark.usefixtures("underwriter")
    @pytest.mark.parametrize("shown", ["", "two", "-1", str(2**63)])
    def test_must_name_what_was_shown(self, client: Client, loan: UUID, shown: str) -> None:
        response = send(client, loan, shown=shown, headers=HTMX)
        assert response.status_code == 422
        assert "The page did not say what it showed." in response.content.decode()

    @pytest.mark.usefixtures("underwriter")
    def test_of_nobody_is_not_found(self, client: Client) -> None:
        assert send(client, uuid4(), headers=HTMX).status_code == 404

    @pytest.mark.usefixtures("underwriter")
    @pytest.mark.parametrize("lose", WAYS.values(), ids=WAYS)
    def test_on_what_is_gone_is_refused(self, client: Client, loan: UUID, lose: Way) -> None:
        lose(event_store_client(), stream_name(loan))
        response = send(client, loan, headers=HTMX)
        assert response.status_code == 409
        assert "was deleted or cut short" in response.content.decode()
        assert TEXT in response.content.decode()

    @pytest.mark.usefixtures("underwriter", "no_event_store")
    @pytest.mark.parametrize("headers", [HTMX, {}], ids=["htmx", "plain"])
    def test_without_the_event_store_keeps_what_was_typed(
        self, client: Client, headers: dict[str, str]
    ) -> None:
        response = send(client, uuid4(), headers=headers)
        assert response.status_code == 503
        assert "try again in a minute" in response.content.decode()
        assert TEXT in response.content.decode()

    @pytest.mark.usefixtures("underwriter")
    def test_takes_100_notes_on_a_request(self, client: Client, loan: UUID) -> None:
        for _ in range(MOST_NOTES):
            append_note(loan)
        response = send(client, loan, headers=HTMX)
        assert response.status_code == 409
        assert "has 100 notes already" in response.content.decode()


@pytest.mark.usefixtures("underwriter")
@pytest.mark.parametrize("action", ["approve", "deny"])
def test_a_decision_on_a_screen_without_a_colleagues_note_is_out_of_date(
    client: Client, loan: UUID, action: str
) -> None:
    append_note(loan, by="a colleague")
    fields = {"shown_revision": UNDER_REVIEW_AT, "reason": "other", "reasons": "other"}
    response = client.post(f"/underwriting/{loan}/{action}/", fields, headers=HTMX)
    assert response.status_code == 409
    assert "has changed since it was shown" in response.content.decode()
    fields["shown_revision"] = UNDER_REVIEW_AT + 1
    again = client.post(f"/underwriting/{loan}/{action}/", fields, headers=HTMX)
    assert again.status_code == 200


def test_the_applicant_is_not_shown_a_note(client: Client, loan: UUID) -> None:
    append_note(loan)
    for path in (f"/loans/{loan}/", f"/api/loan-requests/{loan}"):
        response = client.get(path)
        assert response.status_code == 200
        assert TEXT not in response.content.decode()
