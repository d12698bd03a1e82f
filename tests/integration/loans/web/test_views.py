"""The pages that send commands: the application form, and an underwriter's decisions."""

from __future__ import annotations

import re
import time
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.contrib.auth.models import User
from django.core.signing import TimestampSigner, b62_encode
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from tests.support.api import application
from tests.support.loans import UNDER_REVIEW_AT, append_requested_loan
from tests.support.newer_version import append_newer
from tests.support.staff import make_clerk, make_underwriter
from tests.support.workers import types_of

pytestmark = [pytest.mark.usefixtures("streams"), pytest.mark.django_db]

HTMX = {"HX-Request": "true"}
FROM_HERE = {"Origin": "http://testserver"}
# The national ID of someone who is approved at once, and so may apply again at any time.
APPROVED = "999999aa"


def filled_in(**changes: str) -> dict[str, str]:
    """The form of a new applicant, whose score makes an underwriter decide."""
    typed = {name: str(value) for name, value in application(score=5).items()}
    return {**typed, "address": "", **changes}


def typed_in(response: Any) -> dict[str, str]:
    """The values of the form in a response."""
    return {field.name: field.value() for field in response.context["form"]}


def request_loan(client: Client) -> UUID:
    """Apply; returns the id of the request, which is then under review."""
    form = filled_in()
    client.post("/", form)
    return UUID(form["id"])


def as_shown(revision: object = UNDER_REVIEW_AT, **changes: str) -> dict[str, str]:
    """What a page sends with a decision on a request that it shows."""
    return {"shown_revision": str(revision), **changes}


as_htmx_and_without = pytest.mark.parametrize("headers", [HTMX, {}], ids=["htmx", "without"])


def token_in(response: Any) -> dict[str, str]:
    """The CSRF token of the form in a response."""
    found = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', response.content.decode())
    assert found is not None
    return {"csrfmiddlewaretoken": found[1]}


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
        form = filled_in()
        response = client.post("/", form)
        assert response.status_code == 302
        assert re.fullmatch(rf"/loans/{form['id']}/\?after=\d+", response["Location"])

    def test_with_htmx_the_browser_is_told_where_to_go(self, client: Client) -> None:
        form = filled_in()
        response = client.post("/", form, headers=HTMX)
        assert re.fullmatch(rf"/loans/{form['id']}/\?after=\d+", response["HX-Redirect"])

    def test_sent_twice_it_is_one_request(self, client: Client) -> None:
        form = filled_in()
        first, second = client.post("/", form), client.post("/", form)
        assert first["Location"] == second["Location"]

    def test_another_application_on_the_same_form_gets_an_id_of_its_own(
        self, client: Client
    ) -> None:
        form = filled_in(national_id=APPROVED)
        client.post("/", form)

        response = client.post("/", {**form, "amount": "7000"})

        again = response.context["form"]
        assert response.status_code == 409
        assert again["amount"].value() == "7000"
        assert again["id"].value() != form["id"]
        wanted = {"amount": "7000", "id": again["id"].value(), "again": form["id"]}
        sent_again = client.post("/", {**form, **wanted})
        assert sent_again["Location"].startswith(f"/loans/{again['id'].value()}/")

    def test_a_form_whose_id_was_lost_gets_a_new_one(self, client: Client) -> None:
        response = client.post("/", filled_in(id="broken"))
        assert response.status_code == 422
        assert UUID(response.context["form"]["id"].value())

    @as_htmx_and_without
    def test_an_applicant_with_an_open_request_is_told_so_without_its_id(
        self, client: Client, headers: dict[str, str]
    ) -> None:
        first = filled_in()
        client.post("/", first)
        form = filled_in(national_id=first["national_id"].upper())

        response = client.post("/", form, headers=headers)

        html = response.content.decode()
        assert response.status_code == 409
        assert "We cannot take this application now" in html
        assert first["id"] not in html
        assert typed_in(response) == form

    @pytest.mark.usefixtures("no_credit_bureau", "no_patience")
    def test_without_the_credit_bureau_the_request_is_received(self, client: Client) -> None:
        response = client.post("/", filled_in(), follow=True)
        assert "<h2>Received</h2>" in response.content.decode()

    @as_htmx_and_without
    @pytest.mark.usefixtures("no_event_store")
    def test_without_the_event_store_nothing_typed_is_lost(
        self, client: Client, headers: dict[str, str]
    ) -> None:
        form = filled_in()
        response = client.post("/", form, headers=headers)
        assert response.status_code == 503
        assert "send it again" in response.content.decode()
        assert typed_in(response) == form

    def test_only_the_browser_itself_may_keep_the_form(self, client: Client) -> None:
        assert client.get("/")["Cache-Control"] == "private, no-cache"


class Earlier(TimestampSigner):
    """Signs as an hour ago."""

    def timestamp(self) -> str:
        return b62_encode(int(time.time()) - 3601)


class TestASecondApplicationFromTheSameBrowser:
    """As from a second tab, after the first was decided at once."""

    @pytest.fixture
    def first(self, client: Client) -> dict[str, str]:
        """An application that was decided at once."""
        form = filled_in(national_id=APPROVED)
        client.post("/", form)
        return form

    def second(self, **changes: str) -> dict[str, str]:
        return filled_in(**{"national_id": APPROVED, "amount": "7000", **changes})

    @as_htmx_and_without
    def test_is_told_what_was_decided_and_asked_again(
        self, client: Client, first: dict[str, str], headers: dict[str, str]
    ) -> None:
        form = self.second(national_id=APPROVED.upper())

        response = client.post("/", form, headers=headers)

        html = response.content.decode()
        assert response.status_code == 409
        assert re.search(r"your loan of\s+£5,000 was approved on <time [^>]*data-local>", html)
        assert f'<a href="/loans/{first["id"]}/" autofocus>' in html
        assert typed_in(response) == form
        assert client.get(f"/loans/{form['id']}/").status_code == 404

    @as_htmx_and_without
    def test_is_made_when_its_applicant_says_so_and_once_however_often_it_is_sent(
        self, client: Client, first: dict[str, str], headers: dict[str, str]
    ) -> None:
        form = {**self.second(), "again": first["id"]}
        for sent in (form, form, {**form, "again": ""}):
            response = client.post("/", sent, headers=headers)
            assert form["id"] in (response.get("Location") or response["HX-Redirect"])

    @pytest.mark.parametrize("again", ["yes", "on", str(UUID(int=1)), ""])
    def test_is_not_made_by_a_yes_to_something_else(
        self, client: Client, first: dict[str, str], again: str
    ) -> None:
        assert client.post("/", {**self.second(), "again": again}).status_code == 409

    def test_a_third_one_is_asked_about_the_second(
        self, client: Client, first: dict[str, str]
    ) -> None:
        second = self.second()
        client.post("/", {**second, "again": first["id"]})
        third = client.post("/", {**self.second(), "again": first["id"]})
        assert third.status_code == 409
        assert f"/loans/{second['id']}/" in third.content.decode()

    def test_the_first_sent_again_is_still_the_first(
        self, client: Client, first: dict[str, str]
    ) -> None:
        assert client.post("/", first)["Location"].startswith(f"/loans/{first['id']}/")

    def test_of_another_person_is_taken_also_in_between(
        self, client: Client, first: dict[str, str]
    ) -> None:
        other = filled_in()
        assert client.post("/", other).status_code == 302
        response = client.post("/", self.second())
        assert response.status_code == 409
        assert first["id"] in response.content.decode()
        assert other["id"] not in response.content.decode()

    def test_from_another_browser_learns_nothing(self, first: dict[str, str]) -> None:
        assert Client().post("/", self.second()).status_code == 302

    @pytest.mark.parametrize(
        ("signer", "salt"),
        [(TimestampSigner, "another"), (Earlier, "loans.web.decided_before")],
        ids=["forged", "old"],
    )
    def test_an_old_or_a_forged_cookie_tells_nothing(
        self, client: Client, first: dict[str, str], signer: type[TimestampSigner], salt: str
    ) -> None:
        cookie = client.cookies["applied"]
        assert (cookie["max-age"], cookie["httponly"], cookie["samesite"]) == (3600, True, "Lax")
        value = TimestampSigner(salt="loans.web.decided_before").unsign(cookie.value)
        assert value == UUID(first["id"]).hex
        client.cookies["applied"] = signer(salt=salt).sign(value)
        assert client.post("/", self.second()).status_code == 302

    def test_a_machine_is_not_asked(self, client: Client, first: dict[str, str]) -> None:
        body = {**application(), "national_id": APPROVED}
        response = client.post("/api/loan-requests", body, content_type="application/json")
        assert response.status_code == 201


@pytest.fixture
def strict() -> Client:
    """A browser whose CSRF tokens are checked."""
    return Client(enforce_csrf_checks=True)


class TestAFormWithoutAGoodToken:
    """The page was open too long, the cookies were lost, or another site sent the form."""

    @as_htmx_and_without
    def test_gets_one_and_keeps_its_values_and_id(
        self, strict: Client, headers: dict[str, str]
    ) -> None:
        form = filled_in()
        headers = {**FROM_HERE, **headers}

        response = strict.post("/", {**form, "csrfmiddlewaretoken": "x" * 64}, headers=headers)

        assert response.status_code == 403
        assert "please send it again" in response.content.decode()
        assert typed_in(response) == form
        again = strict.post("/", {**form, **token_in(response)}, headers=headers)
        assert form["id"] in (again.get("Location") or again["HX-Redirect"])

    @pytest.mark.parametrize("origin", [{}, {"Origin": "https://evil.example"}])
    def test_gets_another_id_if_another_site_may_have_sent_it(
        self, strict: Client, origin: dict[str, str]
    ) -> None:
        form = filled_in()
        response = strict.post("/", form, headers=origin)
        assert response.status_code == 403
        assert typed_in(response) == {**form, "id": typed_in(response)["id"]}
        assert UUID(typed_in(response)["id"]) != UUID(form["id"])

    def test_is_validated_while_typing_all_the_same(self, strict: Client) -> None:
        response = strict.post("/validate/?field=amount", {"amount": "1e3"}, headers=HTMX)
        assert "whole number" in response.content.decode()

    def test_is_refused_with_a_notice_on_the_underwriters_page(self, strict: Client) -> None:
        strict.force_login(make_underwriter())
        path = f"/underwriting/{uuid4()}/approve/"
        response = strict.post(path, as_shown(), headers={**FROM_HERE, **HTMX})
        assert response.status_code == 403
        assert response.content.decode().startswith('<p class="notice is-error">')
        assert "Reload it, and decide again." in response.content.decode()

    @pytest.mark.parametrize("path", ["/accounts/login/", f"/underwriting/{UUID(int=1)}/deny/"])
    def test_is_refused_with_a_page_elsewhere(self, strict: Client, path: str) -> None:
        response = strict.post(path, {}, headers=FROM_HERE)
        assert response.status_code == 403
        assert "Go back, reload the page, and send it again." in response.content.decode()


class TestDecisions:
    @pytest.mark.parametrize("action", ["approve", "deny"])
    def test_the_back_office_may_not_decide(self, client: Client, action: str) -> None:
        client.force_login(make_clerk())
        assert client.post(f"/underwriting/{uuid4()}/{action}/").status_code == 403

    @pytest.mark.usefixtures("underwriter")
    def test_an_approval_names_the_applicant(self, client: Client) -> None:
        loan_request_id = request_loan(client)
        path = f"/underwriting/{loan_request_id}/approve/"
        response = client.post(path, as_shown(), headers=HTMX)
        assert response.status_code == 200
        assert "Approved: Ann Example." in response.content.decode()

    @pytest.mark.usefixtures("underwriter", "no_patience")
    def test_without_htmx_it_leads_back_to_the_queue(self, client: Client) -> None:
        loan_request_id = request_loan(client)
        path = f"/underwriting/{loan_request_id}/approve/"
        response = client.post(path, as_shown(), follow=True)
        [(address, _)] = response.redirect_chain
        assert re.fullmatch(r"/underwriting/\?after=\d+", address)
        assert "Approved: Ann Example." in response.content.decode()

    @pytest.mark.usefixtures("underwriter")
    def test_a_denial_asks_for_reasons_from_the_list(self, client: Client) -> None:
        path = f"/underwriting/{request_loan(client)}/deny/"
        dialog = client.get(path, as_shown(), headers=HTMX).content.decode()
        assert "Too much debt" in dialog
        assert "You owe too much already." in dialog
        assert f'name="shown_revision" value="{UNDER_REVIEW_AT}"' in dialog
        for reason in ("", "no_such", "No Code"):
            response = client.post(path, as_shown(reasons=reason), headers=HTMX)
            assert response.status_code == 422
            assert f'value="{UNDER_REVIEW_AT}"' in response.content.decode()
            assert len(response.context["form"].errors["reasons"]) == 1
        done = client.post(path, as_shown(reasons="too_much_debt", note=""), headers=HTMX)
        assert "Denied: Ann Example." in done.content.decode()

    @pytest.mark.usefixtures("underwriter")
    @as_htmx_and_without
    def test_a_denial_says_whose_it_is_even_after_an_error_and_whatever_the_address_says(
        self, client: Client, headers: dict[str, str]
    ) -> None:
        path = f"/underwriting/{request_loan(client)}/deny/"
        somebody_else = {"name": "Bob Else", "whom": "Bob Else"}
        asked = client.get(path, as_shown(**somebody_else), headers=headers)
        again = client.post(path, as_shown(reasons="", **somebody_else), headers=headers)
        for response in (asked, again):
            page = response.content.decode()
            assert "Deny the request of Ann Example" in page
            assert "£5,000" in page
            assert "Bob Else" not in page

    @pytest.mark.usefixtures("underwriter")
    def test_a_denial_can_be_cancelled_without_javascript(self, client: Client) -> None:
        page = client.get(f"/underwriting/{request_loan(client)}/deny/").content.decode()
        assert '<a href="/underwriting/">Cancel</a>' in page
        assert "data-close-dialog" not in page

    @pytest.mark.usefixtures("underwriter")
    @as_htmx_and_without
    def test_what_cannot_be_denied_has_no_form(
        self, client: Client, headers: dict[str, str]
    ) -> None:
        decided = request_loan(client)
        client.post(f"/underwriting/{decided}/approve/", as_shown())
        for loan, why in ((decided, "Already approved by uma"), (uuid4(), "no loan request")):
            path = f"/underwriting/{loan}/deny/"
            page = client.get(path, as_shown(), headers=headers, follow=True).content.decode()
            assert why in page
            assert "<fieldset" not in page

    @pytest.mark.usefixtures("underwriter")
    def test_a_second_decision_is_told_of_the_first_and_reloads_the_list(
        self, client: Client
    ) -> None:
        path = f"/underwriting/{request_loan(client)}"
        client.post(f"{path}/approve/", as_shown())
        client.force_login(make_underwriter("vic"))

        response = client.post(f"{path}/deny/", as_shown(reasons="other"), headers=HTMX)

        assert response.status_code == 409
        assert "Already approved by uma on" in response.content.decode()
        assert "outdated" in response["HX-Trigger-After-Swap"]

    @pytest.mark.usefixtures("underwriter")
    @pytest.mark.parametrize("action", ["approve", "deny"])
    def test_a_decision_on_an_old_revision_is_refused_and_reloads_the_list(
        self, client: Client, action: str
    ) -> None:
        path = f"/underwriting/{request_loan(client)}/{action}/"
        before = as_shown(UNDER_REVIEW_AT - 1, reasons="other")

        response = client.post(path, before, headers=HTMX)

        assert response.status_code == 409
        assert "has changed since it was shown" in response.content.decode()
        assert "outdated" in response["HX-Trigger-After-Swap"]
        again = client.post(path, as_shown(reasons="other"), headers=HTMX)
        assert again.status_code == 200
        assert "HX-Trigger-After-Swap" not in again

    @pytest.mark.usefixtures("underwriter")
    @pytest.mark.parametrize("action", ["approve", "deny"])
    def test_without_htmx_the_fresh_list_says_why_a_decision_was_refused(
        self, client: Client, action: str
    ) -> None:
        path = f"/underwriting/{request_loan(client)}/{action}/"
        response = client.post(path, as_shown(0, reasons="other"), follow=True)
        assert response.redirect_chain == [("/underwriting/", 302)]
        assert "has changed since it was shown" in response.content.decode()

    @pytest.mark.usefixtures("underwriter")
    @pytest.mark.parametrize("action", ["approve", "deny"])
    @pytest.mark.parametrize(
        "shown",
        ["", "two", "-1", "1.5", "²", str(2**63), "9" * 5_000, None],
        ids=lambda each: str(each)[:20],
    )
    @as_htmx_and_without
    def test_a_decision_must_name_the_revision_that_was_shown(
        self, client: Client, action: str, shown: str | None, headers: dict[str, str]
    ) -> None:
        form = {"reasons": "other"} if shown is None else as_shown(shown, reasons="other")
        path = f"/underwriting/{request_loan(client)}/{action}/"
        response = client.post(path, form, headers=headers, follow=True)
        assert "The page did not say what it showed." in response.content.decode()

    @pytest.mark.usefixtures("underwriter")
    def test_a_double_click_is_one_decision(self, client: Client) -> None:
        path = f"/underwriting/{request_loan(client)}/approve/"
        statuses = [client.post(path, as_shown(), headers=HTMX).status_code for _ in range(2)]
        assert statuses == [200, 200]

    @pytest.mark.usefixtures("underwriter")
    def test_an_unknown_request_cannot_be_decided(self, client: Client) -> None:
        response = client.post(f"/underwriting/{uuid4()}/approve/", as_shown(), headers=HTMX)
        assert response.status_code == 409
        assert "There is no loan request" in response.content.decode()

    @pytest.mark.usefixtures("underwriter", "no_event_store")
    def test_without_the_event_store_the_underwriter_is_told_to_try_again(
        self, client: Client
    ) -> None:
        response = client.post(f"/underwriting/{uuid4()}/approve/", as_shown(), headers=HTMX)
        assert response.status_code == 503
        assert "try again" in response.content.decode()

    @pytest.mark.usefixtures("underwriter", "no_event_store")
    @pytest.mark.parametrize("reason", ["other", ""])
    def test_without_the_event_store_what_was_filled_in_stays_in_the_dialog(
        self, client: Client, reason: str
    ) -> None:
        path = f"/underwriting/{uuid4()}/deny/"
        from_dialog = {**HTMX, "HX-Target": "dialog-problem"}
        response = client.post(path, as_shown(reasons=reason), headers=from_dialog)
        assert response.status_code == 503
        assert "HX-Retarget" not in response
        assert "try again" in response.content.decode()

    @pytest.mark.usefixtures("underwriter", "no_event_store")
    @as_htmx_and_without
    def test_without_the_event_store_nobody_is_asked_for_a_reason(
        self, client: Client, headers: dict[str, str]
    ) -> None:
        path = f"/underwriting/{uuid4()}/deny/"
        response = client.get(path, as_shown(), headers=headers, follow=True)
        assert "cannot be shown at the moment" in response.content.decode()
        assert "<fieldset" not in response.content.decode()

    @pytest.mark.usefixtures("underwriter", "streams")
    @pytest.mark.parametrize(("event_type", "version"), [("LoanPaidBack", 1), ("CreditChecked", 3)])
    @as_htmx_and_without
    def test_what_a_newer_version_has_changed_is_not_decided_by_this_one(
        self, client: Client, headers: dict[str, str], event_type: str, version: int
    ) -> None:
        loan = append_requested_loan().loan_request_id
        append_newer(event_type, version, loan_request_id=loan)
        for method, action in (
            (client.post, "approve"),
            (client.post, "deny"),
            (client.get, "deny"),
        ):
            path = f"/underwriting/{loan}/{action}/"
            answer = method(path, as_shown(reasons="other"), headers=headers)
            assert answer.status_code == (503 if headers else 302)
            shown = answer if headers else client.get("/underwriting/")
            assert "is being updated" in shown.content.decode()
        assert types_of(loan)[3:] == [event_type]

    @pytest.mark.usefixtures("underwriter")
    @pytest.mark.parametrize("action", ["approve", "deny"])
    def test_a_decision_from_another_site_is_refused(self, action: str, underwriter: User) -> None:
        strict = Client(enforce_csrf_checks=True)
        strict.force_login(underwriter)
        assert strict.post(f"/underwriting/{uuid4()}/{action}/").status_code == 403
