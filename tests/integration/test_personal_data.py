"""Where a person's data must not stay: in a browser's cache, in cookies, in addresses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.test import Client

from readmodels.models import LoanRequest, LoanStatus, PendingRequest
from tests.support.api import somebody, underwriters_tool
from tests.support.loans import AT, UNDER_REVIEW_AT, ZOE, append_requested_loan
from tests.support.staff import make_clerk

pytestmark = [
    pytest.mark.usefixtures("streams", "no_patience"),
    pytest.mark.django_db,
    # Django's own admin templates use undefined variables.
    pytest.mark.ignore_template_errors,
]

HTMX: Final = {"HX-Request": "true"}
ZOES_FORM: Final = {
    "name": ZOE.name,
    "national_id": ZOE.national_id,
    "address": ZOE.address,
    "amount": "no number",
}
as_htmx_and_without = pytest.mark.parametrize("headers", [HTMX, {}], ids=["htmx", "no htmx"])


def rows_of_zoe() -> LoanRequest:
    """Zoe's request in each read model."""
    loan: dict[str, Any] = {"id": append_requested_loan(score=5).loan_request_id, "amount": 5000}
    person: dict[str, Any] = {"name": ZOE.name, "national_id": ZOE.national_id, "requested_at": AT}
    PendingRequest.objects.create(**loan, **person, credit_score=5, revision=UNDER_REVIEW_AT)
    LoanStatus.objects.create(**loan, status="under_review", received_at=AT)
    return LoanRequest.objects.create(**loan, **person, status="under_review")


class TestNoBrowserStores:
    def assert_is_not_stored(self, response: Any, status: int) -> None:
        assert response.status_code == status
        assert "no-store" in response["Cache-Control"]

    @as_htmx_and_without
    def test_a_form_that_came_back(self, client: Client, headers: dict[str, str]) -> None:
        response = client.post("/", ZOES_FORM, headers=headers)
        assert ZOE.is_told_by(response.content.decode())
        self.assert_is_not_stored(response, 422)

    @as_htmx_and_without
    @pytest.mark.usefixtures("no_event_store")
    def test_one_that_could_not_be_recorded(self, client: Client, headers: dict[str, str]) -> None:
        form = {**ZOES_FORM, "amount": "5000", "id": str(uuid4())}
        self.assert_is_not_stored(client.post("/", form, headers=headers), 503)

    @as_htmx_and_without
    def test_one_without_a_good_token(self, headers: dict[str, str]) -> None:
        strict = Client(enforce_csrf_checks=True)
        response = strict.post("/", ZOES_FORM, headers=headers)
        assert ZOE.is_told_by(response.content.decode())
        self.assert_is_not_stored(response, 403)

    def test_the_check_of_a_field(self, client: Client) -> None:
        response = client.post("/validate/?field=national_id", ZOES_FORM)
        self.assert_is_not_stored(response, 200)

    @pytest.mark.usefixtures("underwriter")
    @as_htmx_and_without
    def test_the_queue_and_a_decision(self, client: Client, headers: dict[str, str]) -> None:
        loan = rows_of_zoe().id
        self.assert_is_not_stored(client.get("/underwriting/", headers=headers), 200)
        path = f"/underwriting/{loan}/deny/"
        self.assert_is_not_stored(client.get(path, headers=headers), 200)
        self.assert_is_not_stored(client.post(path, headers=headers), 422)

    def test_a_status(self, client: Client) -> None:
        loan = rows_of_zoe().id
        self.assert_is_not_stored(client.get(f"/loans/{loan}/"), 200)
        self.assert_is_not_stored(client.get(f"/api/loan-requests/{loan}"), 200)

    def test_the_queue_in_the_api(self) -> None:
        rows_of_zoe()
        self.assert_is_not_stored(underwriters_tool().get("/underwriting/queue"), 200)

    def test_the_back_office(self, client: Client) -> None:
        client.force_login(make_clerk())
        loan, rows = rows_of_zoe().id, "/admin/readmodels/loanrequest/"
        for path in (rows, f"{rows}?q=Zoe", f"{rows}{loan}/change/"):
            self.assert_is_not_stored(client.get(path), 200)
        export = {"action": "export_as_csv", "_selected_action": [str(loan)]}
        response = client.post(rows, export)
        assert ZOE.is_told_by(response.getvalue().decode())
        self.assert_is_not_stored(response, 200)


@pytest.fixture(params=["approve", "deny"])
def decide(request: pytest.FixtureRequest) -> Callable[[Client, Any], Any]:
    """Decides as a browser without JavaScript does, which is redirected and then told."""

    def decide(client: Client, loan: Any) -> Any:
        form = {"shown_revision": str(UNDER_REVIEW_AT), "reasons": "other"}
        return client.post(f"/underwriting/{loan}/{request.param}/", form)

    return decide


class TestNeitherCookiesNorAddresses:
    def test_hold_whom_a_decision_was_about(
        self, client: Client, underwriter: User, decide: Callable[[Client, Any], Any]
    ) -> None:
        response = decide(client, rows_of_zoe().id)
        assert response.status_code == 302
        assert set(client.cookies) <= {"sessionid", "csrftoken"}
        assert not ZOE.is_told_by(response.serialize_headers().decode())
        assert ZOE.name in client.get(response["Location"]).content.decode()
        # It was told once, and is kept no longer.
        assert "_messages" not in client.session

    def test_hold_an_applicant(self, client: Client) -> None:
        form = {**ZOES_FORM, "amount": "5000", "national_id": somebody(), "id": str(uuid4())}
        response = client.post("/", form)
        assert response.status_code == 302
        assert set(client.cookies) <= {"csrftoken", "applied"}
        assert not ZOE.is_told_by(client.cookies.output())
        assert form["national_id"] not in client.cookies.output()
        assert response["Location"].startswith(f"/loans/{form['id']}/?after=")
