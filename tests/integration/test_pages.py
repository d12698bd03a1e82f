"""The pages of applicants and underwriters, through Django's test client and a real event store."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.contrib.auth.models import User
from django.test import Client
from pytest_django import DjangoAssertNumQueries, Settings

from readmodels import positions
from readmodels.models import Checkpoint, LoanStatus, PendingRequest
from tests.support.fakes import FakeCreditBureau
from tests.support.staff import make_clerk, make_underwriter

pytestmark = [pytest.mark.usefixtures("streams"), pytest.mark.django_db]

AT = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)
HTMX = {"HX-Request": "true"}
TO_COME = "The outcome will appear here by itself in a moment."


def filled_in(loan_request_id: UUID | None = None, **changes: str) -> dict[str, str]:
    form = {"id": str(loan_request_id or uuid4()), "name": "Ann Example", "amount": "5000"}
    return {**form, "national_id": "555555aa", "address": "", **changes}


def request_loan(client: Client, **changes: str) -> UUID:
    """Apply, and answer the id of the request, which is then under review."""
    loan_request_id = uuid4()
    client.post("/", filled_in(loan_request_id, **changes))
    return loan_request_id


def pending(loan_request_id: UUID, name: str = "Ann Example", **changes: Any) -> PendingRequest:
    row = {"national_id": "555555aa", "amount": 5000, "credit_score": 5, "requested_at": AT}
    return PendingRequest.objects.create(id=loan_request_id, name=name, **{**row, **changes})


@pytest.fixture
def underwriter(client: Client) -> User:
    user = make_underwriter()
    client.force_login(user)
    return user


@pytest.fixture
def checkpoint() -> Checkpoint:
    return Checkpoint.objects.create(name="loan_status", position=5)


@pytest.fixture
def no_patience(settings: Settings) -> Iterator[None]:
    settings.READ_MODEL_WAIT_SECONDS = 0.1
    yield
    positions.hints.close()


@pytest.fixture
def no_clearing_house(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loans.views.credit_bureau", lambda: FakeCreditBureau(None))


class TestApply:
    def test_the_form_needs_no_login_and_no_query(
        self, client: Client, django_assert_num_queries: DjangoAssertNumQueries
    ) -> None:
        with django_assert_num_queries(0):
            response = client.get("/")
        html = response.content.decode()
        for label in ("Name", "National ID", "Amount", "Address"):
            assert f">{label}</label>" in html
        assert "Request loan" in html

    def test_two_forms_have_two_ids(self, client: Client) -> None:
        first, second = (client.get("/").context["form"]["id"].value() for _ in range(2))
        assert first != second

    def test_it_leads_to_the_status_page(self, client: Client) -> None:
        loan_request_id = uuid4()
        response = client.post("/", filled_in(loan_request_id))
        assert response.status_code == 302
        assert re.fullmatch(rf"/loans/{loan_request_id}/\?after=\d+", response["Location"])

    def test_with_htmx_the_browser_is_told_where_to_go(self, client: Client) -> None:
        loan_request_id = uuid4()
        response = client.post("/", filled_in(loan_request_id), headers=HTMX)
        assert re.fullmatch(rf"/loans/{loan_request_id}/\?after=\d+", response["HX-Redirect"])

    def test_sent_twice_it_is_one_request(self, client: Client) -> None:
        form = filled_in()
        first, second = client.post("/", form), client.post("/", form)
        assert first["Location"] == second["Location"]

    def test_another_application_on_the_same_form_gets_an_id_of_its_own(
        self, client: Client
    ) -> None:
        form = filled_in()
        client.post("/", form)

        response = client.post("/", {**form, "amount": "7000"})

        again = response.context["form"]
        assert response.status_code == 409
        assert again["amount"].value() == "7000"
        assert again["id"].value() != form["id"]
        sent_again = client.post("/", {**form, "amount": "7000", "id": again["id"].value()})
        assert sent_again["Location"].startswith(f"/loans/{again['id'].value()}/")

    def test_a_form_whose_id_was_lost_gets_a_new_one(self, client: Client) -> None:
        response = client.post("/", filled_in(id="broken"))
        assert response.status_code == 422
        assert UUID(response.context["form"]["id"].value())

    @pytest.mark.usefixtures("no_clearing_house")
    def test_without_the_clearing_house_nothing_typed_is_lost(self, client: Client) -> None:
        form = filled_in()
        response = client.post("/", form)
        assert response.status_code == 503
        assert "send it again" in response.content.decode()
        assert {name: response.context["form"][name].value() for name in form} == form

    @pytest.mark.usefixtures("no_event_store")
    def test_without_the_event_store_nothing_typed_is_lost(self, client: Client) -> None:
        form = filled_in()
        response = client.post("/", form)
        assert response.status_code == 503
        assert {name: response.context["form"][name].value() for name in form} == form

    def test_a_form_from_elsewhere_is_refused_with_a_page(self) -> None:
        response = Client(enforce_csrf_checks=True).post("/", filled_in())
        assert response.status_code == 403
        assert "Please send it again" in response.content.decode()


class TestStatusPage:
    def status(self, loan_request_id: UUID, **changes: Any) -> LoanStatus:
        row = {"status": "received", "amount": 5000, "received_at": AT, **changes}
        return LoanStatus.objects.create(id=loan_request_id, **row)

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
        assert response["X-Robots-Tag"] == "noindex"

    def test_a_denial_says_why(self, client: Client) -> None:
        row = self.status(uuid4(), status="denied", denial_reason="too_much_debt", decided_at=AT)
        assert "You owe too much already." in client.get(f"/loans/{row.id}/").content.decode()

    def test_a_request_that_the_read_model_does_not_know_yet_is_received(
        self, client: Client
    ) -> None:
        loan_request_id = request_loan(client)
        html = client.get(f"/loans/{loan_request_id}/").content.decode()
        assert "<h2>Received</h2>" in html

    @pytest.mark.usefixtures("no_patience")
    def test_what_the_command_recorded_is_waited_for_and_told_to_come(
        self, client: Client, checkpoint: Checkpoint
    ) -> None:
        loan_request_id = request_loan(client)
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
        loan_request_id = request_loan(client)
        self.status(loan_request_id)
        assert "555555aa" not in client.get(f"/loans/{loan_request_id}/").content.decode()

    @pytest.mark.parametrize("path", [f"/loans/{uuid4()}/", "/loans/1/", "/nothing/"])
    def test_what_is_not_there_is_a_page_that_says_so(self, client: Client, path: str) -> None:
        response = client.get(path)
        assert response.status_code == 404
        assert "There is nothing at this address" in response.content.decode()


class TestUnderwriting:
    def test_who_is_not_logged_in_is_sent_to_the_login_page(self, client: Client) -> None:
        response = client.get("/underwriting/")
        assert response["Location"] == "/accounts/login/?next=/underwriting/"

    @pytest.mark.parametrize("path", ["", f"{uuid4()}/approve/", f"{uuid4()}/deny/"])
    def test_the_back_office_may_not_decide(self, client: Client, path: str) -> None:
        client.force_login(make_clerk())
        assert client.post(f"/underwriting/{path}").status_code == 403

    @pytest.mark.usefixtures("underwriter")
    def test_it_lists_what_waits_oldest_first_with_a_fixed_number_of_queries(
        self, client: Client, django_assert_num_queries: DjangoAssertNumQueries
    ) -> None:
        for hour in (11, 9, 10):
            pending(uuid4(), name=f"At {hour}", requested_at=AT.replace(hour=hour))
        # The session, the user, the groups, the rows.
        with django_assert_num_queries(4):
            response = client.get("/underwriting/")
        assert [row.name for row in response.context["rows"]] == ["At 9", "At 10", "At 11"]
        html = response.content.decode()
        for shown in ("At 9", "5,000", "555555aa", ">Approve</button>", ">Deny</button>"):
            assert shown in html

    @pytest.mark.usefixtures("underwriter")
    def test_names_are_shown_as_text(self, client: Client) -> None:
        pending(uuid4(), name="<script>alert(1)</script>")
        assert "<script>alert" not in client.get("/underwriting/").content.decode()

    @pytest.mark.usefixtures("underwriter")
    def test_an_approval_says_whose_it_was(self, client: Client) -> None:
        loan_request_id = request_loan(client)
        response = client.post(f"/underwriting/{loan_request_id}/approve/", headers=HTMX)
        assert response.status_code == 200
        assert "Approved: Ann Example." in response.content.decode()

    @pytest.mark.usefixtures("underwriter", "no_patience")
    def test_without_htmx_it_leads_back_to_the_queue(self, client: Client) -> None:
        loan_request_id = request_loan(client)
        response = client.post(f"/underwriting/{loan_request_id}/approve/", follow=True)
        [(address, _)] = response.redirect_chain
        assert re.fullmatch(r"/underwriting/\?after=\d+", address)
        assert "Approved: Ann Example." in response.content.decode()

    @pytest.mark.usefixtures("underwriter", "no_patience")
    def test_a_decision_that_the_list_does_not_show_yet_is_told_to_come(
        self, client: Client, django_assert_num_queries: DjangoAssertNumQueries
    ) -> None:
        at = Checkpoint.objects.create(name="underwriters_queue", position=5).position
        words = "Your last decision will show in this list in a moment."
        # The session, the user, the groups, the checkpoint, the rows.
        with django_assert_num_queries(5):
            level = client.get("/underwriting/", {"after": at}).content.decode()
        assert words not in level
        assert words in client.get("/underwriting/", {"after": at + 1}).content.decode()
        assert words not in client.get("/underwriting/", {"after": "soon"}).content.decode()

    @pytest.mark.usefixtures("underwriter")
    def test_a_denial_asks_for_a_reason_from_the_list(self, client: Client) -> None:
        path = f"/underwriting/{request_loan(client)}/deny/"
        assert "Too much debt" in client.get(path, headers=HTMX).content.decode()
        assert client.post(path, {"reason": ""}, headers=HTMX).status_code == 422
        assert client.post(path, {"reason": "no_such"}, headers=HTMX).status_code == 422
        done = client.post(path, {"reason": "too_much_debt", "note": ""}, headers=HTMX)
        assert "Denied: Ann Example." in done.content.decode()

    @pytest.mark.usefixtures("underwriter")
    def test_a_second_decision_is_told_of_the_first(self, client: Client) -> None:
        path = f"/underwriting/{request_loan(client)}"
        client.post(f"{path}/approve/")
        client.force_login(make_underwriter("vic"))

        response = client.post(f"{path}/deny/", {"reason": "other"}, headers=HTMX)

        assert response.status_code == 409
        assert "Already approved by uma on" in response.content.decode()

    @pytest.mark.usefixtures("underwriter")
    def test_a_double_click_is_one_decision(self, client: Client) -> None:
        path = f"/underwriting/{request_loan(client)}/approve/"
        statuses = [client.post(path, headers=HTMX).status_code for _ in range(2)]
        assert statuses == [200, 200]

    @pytest.mark.usefixtures("underwriter")
    def test_what_is_not_there_cannot_be_decided(self, client: Client) -> None:
        response = client.post(f"/underwriting/{uuid4()}/approve/", headers=HTMX)
        assert response.status_code == 409
        assert "There is no loan request" in response.content.decode()

    @pytest.mark.usefixtures("underwriter", "no_event_store")
    def test_without_the_event_store_the_underwriter_is_told_to_try_again(
        self, client: Client
    ) -> None:
        response = client.post(f"/underwriting/{uuid4()}/approve/", headers=HTMX)
        assert response.status_code == 503
        assert "try again" in response.content.decode()

    @pytest.mark.usefixtures("underwriter")
    @pytest.mark.parametrize("action", ["approve", "deny"])
    def test_a_decision_from_elsewhere_is_refused(self, action: str, underwriter: User) -> None:
        strict = Client(enforce_csrf_checks=True)
        strict.force_login(underwriter)
        assert strict.post(f"/underwriting/{uuid4()}/{action}/").status_code == 403


class TestLogin:
    @pytest.mark.parametrize(
        ("make", "home"), [(make_underwriter, "/underwriting/"), (make_clerk, "/admin/")]
    )
    def test_everyone_is_led_to_the_page_of_their_work(
        self, client: Client, make: Any, home: str
    ) -> None:
        user = make()
        user.set_password("a password")
        user.save()
        login = {"username": user.username, "password": "a password"}
        response = client.post("/accounts/login/", login, follow=True)
        assert response.redirect_chain[-1][0] == home

    def test_a_wrong_password_is_told(self, client: Client) -> None:
        response = client.post("/accounts/login/", {"username": "uma", "password": "wrong"})
        assert "correct username and password" in response.content.decode()
