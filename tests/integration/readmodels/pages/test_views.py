"""The pages that show read models: the status of one request, and the underwriters' queue."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.test import Client
from pytest_django import DjangoAssertNumQueries, Settings

from lepret.common.event_store_client import event_store_client
from loans.adapters.codec import loan_request_stream, stream_name
from loans.dependencies import event_store
from loans.domain.events import ApplicationLapsed
from readmodels.models import Checkpoint, LoanStatus, PendingRequest
from readmodels.pages.status_page import StatusPage
from tests.support.known_policies import known
from tests.support.loans import AT, ZOE, append_requested_loan
from tests.support.lost_streams import WAYS, Way
from tests.support.newer_version import append_newer
from tests.support.staff import make_clerk

pytestmark = [pytest.mark.usefixtures("streams"), pytest.mark.django_db]

HTMX = {"HX-Request": "true"}
TO_COME = "The outcome will appear here by itself in a moment."


def pending(loan_request_id: UUID, name: str = "Ann Example", **changes: Any) -> PendingRequest:
    row = {"national_id": "555555aa", "amount": 5000, "credit_score": 5, "requested_at": AT}
    return PendingRequest.objects.create(id=loan_request_id, name=name, **{**row, **changes})


@pytest.fixture
def checkpoint() -> Checkpoint:
    return Checkpoint.objects.create(name="loan_status", position=5)


class TestStatusPage:
    def status(self, loan_request_id: UUID, **changes: Any) -> LoanStatus:
        row = {"status": "received", "amount": 5000, "received_at": AT, **changes}
        return LoanStatus.objects.create(id=loan_request_id, **row)

    def page(self, client: Client, **changes: Any) -> str:
        return client.get(f"/loans/{self.status(uuid4(), **changes).id}/").content.decode()

    @pytest.mark.parametrize(
        ("status", "words"),
        [
            ("received", "Received"),
            ("under_review", "Under review"),
            ("approved", "Approved"),
            ("denied", "Denied"),
        ],
    )
    def test_it_says_how_the_request_stands(
        self,
        client: Client,
        status: str,
        words: str,
        django_assert_num_queries: DjangoAssertNumQueries,
    ) -> None:
        row = self.status(uuid4(), status=status)
        with django_assert_num_queries(1):
            response = client.get(f"/loans/{row.id}/")
        assert f"<h2>{words}</h2>" in response.content.decode()

    @pytest.mark.parametrize("status", ["received", "under_review", "approved", "denied"])
    def test_of_a_request_that_is_gone_it_says_so_and_what_had_happened(
        self, client: Client, status: str
    ) -> None:
        row = self.status(uuid4(), status=status, gone_at=AT, passed_on_at=AT)
        response = client.get(f"/loans/{row.id}/?after=5")
        html = response.content.decode()
        assert response.status_code == 410
        assert re.findall("<h2>(.*)</h2>", html) == ["No longer on record"]
        assert "Passed to an underwriter" in html
        assert 'http-equiv="refresh"' not in html
        assert "<h2>No longer on record</h2>" in StatusPage.read(row.id).html

    @pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
    def test_so_it_does_if_the_read_model_never_knew_of_it(self, client: Client, way: Way) -> None:
        loan = append_requested_loan().loan_request_id
        way(event_store_client(), stream_name(loan))
        response = client.get(f"/loans/{loan}/")
        assert response.status_code == 410
        assert "ws-connect" not in response.content.decode()

    def test_a_denial_says_why_in_the_words_of_its_policy(self, client: Client) -> None:
        known(3)
        factors = {"reasons": ["short_history", "other"], "reason_text": "A <house>.", "policy": 3}
        html = self.page(client, status="denied", decided_at=AT, **factors)
        assert "<li>You have borrowed only lately.</li><li>A &lt;house&gt;.</li>" in html

    def test_a_denial_is_explained_and_never_by_the_score_alone(self, client: Client) -> None:
        html = self.page(client, status="denied", decided_at=AT, credit_score=2)
        assert "because the score was 2 and policy 0 denies up to 4." in html
        assert "We cannot give you this loan." in html
        assert "too low" not in html

    def test_a_denial_that_an_older_version_has_put_there_says_why(self, client: Client) -> None:
        by_hand = {"passed_on_at": AT, "denial_reason": "too_much_debt"}
        assert "You owe too much already." in self.page(client, status="denied", **by_hand)
        assert "We cannot give you this loan." in self.page(client, status="denied")

    def test_a_review_is_explained(self, client: Client) -> None:
        html = self.page(client, status="under_review", credit_score=5)
        assert "because the score was 5 and policy 0 leaves 5 to 6 to people." in html

    def test_while_the_credit_is_checked_it_says_what_comes_next(self, client: Client) -> None:
        html = self.page(client)
        assert "are checking your credit" in html
        assert "You need not do anything" in html.replace("\n      ", " ")

    def test_a_parked_credit_check_is_told_without_internals(self, client: Client) -> None:
        html = self.page(client, delayed_at=AT + timedelta(hours=2))
        assert "<h2>Taking longer than usual</h2>" in html
        assert "Someone here is looking into it" in html
        assert "<h2>Approved</h2>" in self.page(
            client, status="approved", delayed_at=AT, checked_at=AT, decided_at=AT
        )

    def test_a_time_line_says_what_happened_and_when(self, client: Client) -> None:
        hours = {
            name: AT + timedelta(hours=number)
            for number, name in enumerate(
                ("received_at", "delayed_at", "checked_at", "passed_on_at", "decided_at")
            )
        }
        html = self.page(client, status="denied", denial_reason="other", **hours)
        assert re.findall(
            r"<li><time[^>]* data-local>23 Nov 2026, (..):30 UTC</time> (.*)</li>", html
        ) == [
            ("09", "Request received"),
            ("10", "Credit check delayed"),
            ("11", "Credit checked"),
            ("12", "Passed to an underwriter"),
            ("13", "Denied"),
        ]
        assert '<time datetime="2026-11-23T13:30:00+00:00" data-local>' in html

    def test_what_has_not_happened_is_not_on_the_time_line(self, client: Client) -> None:
        html = self.page(client, status="under_review", checked_at=AT, passed_on_at=AT)
        assert html.count("<li><time") == 3
        assert "delayed" not in html

    @pytest.mark.parametrize(
        ("changes", "looks_again"), [({}, True), ({"status": "approved", "decided_at": AT}, False)]
    )
    def test_without_javascript_it_looks_again_until_there_is_a_decision(
        self, client: Client, changes: dict[str, Any], looks_again: bool
    ) -> None:
        loan = self.status(uuid4(), **changes).id
        html = client.get(f"/loans/{loan}/", {"after": "5"}).content.decode()
        # Without `after`: what was recorded there need not be waited for again.
        again = f'<noscript><meta http-equiv="refresh" content="5; url=/loans/{loan}/"></noscript>'
        assert (again in html) == looks_again

    def test_amounts_have_the_currency(self, client: Client, settings: Settings) -> None:
        settings.CURRENCY = "EUR"
        html = self.page(client, status="approved", amount=12_500, decided_at=AT)
        assert "Your loan of €12,500 is approved." in html
        assert "Amount: €12,500" in html

    def test_it_says_how_to_come_back_and_whom_to_ask(
        self, client: Client, settings: Settings
    ) -> None:
        settings.CONTACT = "loans@example.com or 020 7946 0000"
        loan = UUID("b9e84a3c-7a5c-4d7d-9d0f-2f6d7a1c5e11")
        self.status(loan)
        html = client.get(f"/loans/{loan}/").content.decode()
        assert '<strong class="request-number">Q7M4-MF3T-BH6Q</strong>' in html
        assert '<a href="/find/">' in html
        assert '<a href="mailto:loans@example.com">loans@example.com</a> or 020 7946 0000' in html

    def test_nobody_else_keeps_it_or_is_told_its_address(self, client: Client) -> None:
        response = client.get(f"/loans/{self.status(uuid4()).id}/")
        assert response["X-Robots-Tag"] == "noindex, nofollow, noarchive"
        assert response["Referrer-Policy"] == "same-origin"
        assert "no-store" in response["Cache-Control"]
        html = response.content.decode()
        assert '<meta name="robots" content="noindex, nofollow, noarchive">' in html
        assert "http://" not in html
        assert "https://" not in html

    def test_a_request_that_the_read_model_does_not_know_yet_is_received(
        self, client: Client
    ) -> None:
        loan_request_id = append_requested_loan().loan_request_id
        html = client.get(f"/loans/{loan_request_id}/").content.decode()
        assert "<h2>Received</h2>" in html

    @pytest.mark.parametrize(("event_type", "version"), [("LoanRequested", 2), ("LoanSought", 1)])
    def test_so_is_one_that_only_a_newer_version_can_read(
        self, client: Client, event_type: str, version: int
    ) -> None:
        loan_request_id = uuid4()
        append_newer(event_type, version, loan_request_id=loan_request_id)
        html = client.get(f"/loans/{loan_request_id}/").content.decode()
        assert "<h2>Received</h2>" in html

    @pytest.mark.usefixtures("no_patience")
    def test_it_waits_for_what_the_command_recorded_and_says_if_that_is_still_to_come(
        self, client: Client, checkpoint: Checkpoint
    ) -> None:
        loan_request_id = append_requested_loan().loan_request_id
        path = f"/loans/{loan_request_id}/"
        late = client.get(path, {"after": checkpoint.position + 1}).content.decode()
        assert "<h2>Received</h2>" in late
        assert TO_COME in late
        self.status(loan_request_id, status="under_review")
        level = client.get(path, {"after": checkpoint.position}).content.decode()
        assert "<h2>Under review</h2>" in level
        assert TO_COME not in level

    @pytest.mark.parametrize("after", ["", "soon", "-1", "1.5", "²", str(2**63), "9" * 5_000])
    def test_an_after_that_is_no_position_is_ignored(
        self, client: Client, settings: Settings, after: str
    ) -> None:
        settings.READ_MODEL_WAIT_SECONDS = 3600
        html = client.get(f"/loans/{self.status(uuid4()).id}/", {"after": after}).content.decode()
        assert "<h2>Received</h2>" in html
        assert TO_COME not in html

    def test_it_shows_no_national_id(self, client: Client) -> None:
        loan_request_id = append_requested_loan().loan_request_id
        self.status(loan_request_id)
        html = client.get(f"/loans/{loan_request_id}/").content.decode()
        assert not ZOE.is_told_by(html)

    def test_an_application_that_was_never_recorded_is_not_there(self, client: Client) -> None:
        loan_request_id = uuid4()
        lapsed = ApplicationLapsed(id=loan_request_id, occurred_at=AT)
        event_store().append(
            loan_request_stream(loan_request_id),
            [lapsed],
            revision=None,
            command_id=uuid4(),
            user="applicant",
        )
        assert client.get(f"/loans/{loan_request_id}/").status_code == 404

    @pytest.mark.parametrize("path", [f"/loans/{UUID(int=1)}/", "/loans/1/", "/nothing/"])
    def test_what_is_not_there_is_a_page_that_says_so(self, client: Client, path: str) -> None:
        response = client.get(path)
        assert response.status_code == 404
        assert "There is nothing at this address" in response.content.decode()


class TestUnderwriting:
    def test_who_is_not_logged_in_is_sent_to_the_login_page(self, client: Client) -> None:
        response = client.get("/underwriting/")
        assert response["Location"] == "/accounts/login/?next=/underwriting/"

    def test_the_back_office_does_not_see_it(self, client: Client) -> None:
        client.force_login(make_clerk())
        assert client.get("/underwriting/").status_code == 403

    @pytest.mark.usefixtures("underwriter")
    def test_it_lists_what_waits_oldest_first_with_a_fixed_number_of_queries(
        self, client: Client, django_assert_num_queries: DjangoAssertNumQueries
    ) -> None:
        for hour in (11, 9, 10):
            pending(uuid4(), name=f"At {hour}", requested_at=AT.replace(hour=hour))
        # The session, the user, the second factor, the groups; the policy's version, the rows, and
        # what was decided today.
        with django_assert_num_queries(7):
            response = client.get("/underwriting/")
        html = response.content.decode()
        assert re.findall(r">(At \d+)</a>", html) == ["At 9", "At 10", "At 11"]
        for shown in ("At 9", "5,000", "555555aa", ">Approve</button>", ">Deny</button>"):
            assert shown in html

    @pytest.mark.usefixtures("underwriter")
    def test_names_are_shown_as_text(self, client: Client) -> None:
        pending(uuid4(), name="<script>alert(1)</script>")
        assert "<script>alert" not in client.get("/underwriting/").content.decode()

    @pytest.mark.usefixtures("underwriter")
    def test_each_row_leads_to_its_request_and_says_how_many_notes_there_are(
        self, client: Client
    ) -> None:
        rows = [pending(UUID(int=1 + notes), notes=notes) for notes in range(3)]
        html = client.get("/underwriting/").content.decode()
        assert re.findall(r">(\d notes?)<", html) == ["1 note", "2 notes"]
        links = re.findall(r'<a id="name-\S+" href="([^"/]+)/"', html)
        assert links == [str(row.id) for row in rows]

    @pytest.mark.usefixtures("underwriter", "no_patience")
    def test_a_decision_that_the_list_does_not_show_yet_is_said_to_come(
        self, client: Client, django_assert_num_queries: DjangoAssertNumQueries
    ) -> None:
        at = Checkpoint.objects.create(name="underwriters_queue", position=5).position
        words = "Your last decision will show in this list in a moment."
        # As above, and the checkpoint.
        with django_assert_num_queries(8):
            level = client.get("/underwriting/", {"after": at}).content.decode()
        assert words not in level
        assert words in client.get("/underwriting/", {"after": at + 1}).content.decode()
        assert words not in client.get("/underwriting/", {"after": "soon"}).content.decode()

    @pytest.mark.usefixtures("underwriter")
    def test_each_row_says_which_revision_it_shows(self, client: Client) -> None:
        pending(uuid4(), revision=17)
        html = client.get("/underwriting/").content.decode()
        assert html.count('name="shown_revision" value="17"') == 3

    @pytest.mark.usefixtures("underwriter")
    def test_htmx_is_given_the_list_alone(self, client: Client) -> None:
        pending(uuid4())
        html = client.get("/underwriting/", headers=HTMX).content.decode()
        assert html.startswith('<div id="queue"')
        assert "Ann Example" in html
