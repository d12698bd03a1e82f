"""What an underwriter is shown who denies for reasons of the policy, or is one of two to decide."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

import pytest
from django.test import Client

from loans.adapters.codec import loan_request_stream
from loans.application.policies import PolicyUnavailable
from loans.dependencies import event_store as loans_store
from loans.dependencies import policies
from loans.domain.events import ManuallyDenied
from loans.domain.policy import OTHER, Reason
from tests.support.api import Caller, application
from tests.support.event_store import RunningEventStore
from tests.support.policies import DEMO_LIKE, put_in_force
from tests.support.staff import make_underwriter
from tests.support.workers import types_of

pytestmark = [pytest.mark.usefixtures("demo_like", "no_patience"), pytest.mark.django_db]

HTMX: Final = {"HX-Request": "true"}
FROM_DIALOG: Final = {**HTMX, "HX-Target": "dialog-problem"}
as_htmx_and_without = pytest.mark.parametrize("headers", [HTMX, {}], ids=["htmx", "without"])


@pytest.fixture
def demo_like(event_store: RunningEventStore) -> int:
    """The version of the policy in force, whose limit is 10,000."""
    return put_in_force(DEMO_LIKE)


@pytest.fixture
def loan(demo_like: int) -> UUID:
    """A request for more than the limit, which is under review."""
    answer = Caller().apply(application(score=6, amount=20_000)).json()
    return UUID(answer["id"])


def browser_of(username: str) -> Client:
    client = Client()
    client.force_login(make_underwriter(username))
    return client


@pytest.fixture
def uma() -> Client:
    return browser_of("uma")


@pytest.fixture
def ursula() -> Client:
    return browser_of("ursula")


def approve(
    client: Client, loan: UUID, headers: dict[str, str] = HTMX, *, shown: int = 2
) -> tuple[Any, str]:
    path = f"/underwriting/{loan}/approve/"
    response = client.post(path, {"shown_revision": shown}, headers=headers, follow=True)
    return response, response.content.decode()


def deny(
    client: Client,
    loan: UUID,
    reasons: object = "too_much_debt",
    headers: dict[str, str] = FROM_DIALOG,
    *,
    shown: int = 2,
    typed: Mapping[str, str] | None = None,
) -> tuple[Any, str]:
    form = {"shown_revision": shown, "reasons": reasons, **(typed or {})}
    path = f"/underwriting/{loan}/deny/"
    response = client.post(path, form, headers=headers, follow=True)
    return response, response.content.decode()


class TestOpinions:
    @as_htmx_and_without
    def test_an_approval_above_the_limit_is_told_who_is_awaited_each_time(
        self, uma: Client, loan: UUID, headers: dict[str, str]
    ) -> None:
        for shown in (2, 2, 3):
            response, page = approve(uma, loan, headers, shown=shown)
            assert "Your approval is recorded: Ann Example, £20,000." in page
            assert "It takes a second person above £10,000: anyone but you" in page
            assert "decided" not in response.headers.get("HX-Trigger", "")
        assert types_of(loan)[3:] == ["ApprovalProposed"]

    def test_a_second_one_decides_and_the_row_is_done(
        self, uma: Client, ursula: Client, loan: UUID
    ) -> None:
        approve(uma, loan)
        response, page = approve(ursula, loan, shown=3)
        assert "Approved: Ann Example." in page
        assert "decided" in response["HX-Trigger"]

    def test_a_second_one_that_did_not_see_the_first_is_to_look_again(
        self, uma: Client, ursula: Client, loan: UUID
    ) -> None:
        approve(uma, loan)
        response, page = approve(ursula, loan)
        assert response.status_code == 409
        assert "has changed since it was shown" in page
        assert "outdated" in response["HX-Trigger-After-Swap"]

    @as_htmx_and_without
    def test_who_disagrees_is_told_with_whom_and_that_a_third_person_decides(
        self, uma: Client, ursula: Client, loan: UUID, headers: dict[str, str]
    ) -> None:
        approve(uma, loan)
        _, page = deny(ursula, loan, headers=headers, shown=3)
        assert "Your denial is recorded: Ann Example, £20,000." in page
        assert "But uma would have it approved: a third person decides." in page
        _, page = approve(uma, loan, headers, shown=4)
        assert "But ursula would have it denied: a third person decides." in page

    def test_a_recorded_denial_closes_the_dialog(
        self, uma: Client, ursula: Client, loan: UUID
    ) -> None:
        approve(uma, loan)
        response, _ = deny(ursula, loan, shown=3)
        assert response["HX-Retarget"] == "#notices"

    def test_an_approval_up_to_the_limit_decides(self, uma: Client) -> None:
        answer = Caller().apply(application(score=6, amount=10_000)).json()
        _, page = approve(uma, UUID(answer["id"]))
        assert "Approved: Ann Example." in page


class TestTheReasons:
    @as_htmx_and_without
    def test_are_those_of_the_policy_in_the_words_of_staff_and_applicant(
        self, uma: Client, loan: UUID, headers: dict[str, str]
    ) -> None:
        moved = Reason(staff="Moved <often>", applicant="You have moved too often.")
        retired = DEMO_LIKE.reasons["too_much_debt"].model_copy(update={"active": False})
        reasons = {**DEMO_LIKE.reasons, "moved": moved, "too_much_debt": retired}
        put_in_force(DEMO_LIKE.model_copy(update={"reasons": reasons}))
        page = uma.get(f"/underwriting/{loan}/deny/", headers=headers).content.decode()
        assert "Moved &lt;often&gt;" in page
        assert "You have moved too often." in page
        codes = re.findall(r'type="checkbox" name="reasons" value="(\w+)"', page)
        assert codes == [code for code in reasons if code != "too_much_debt"]

    def test_are_recorded_with_what_the_applicant_is_told(self, uma: Client, loan: UUID) -> None:
        own = {"reason_text": "You have moved three times."}
        _, page = deny(uma, loan, ["income_too_low", OTHER], typed=own)
        assert "Denied: Ann Example." in page
        denied = loans_store().load(loan_request_stream(loan)).events[-1]
        assert isinstance(denied, ManuallyDenied)
        assert denied.reasons == ("income_too_low", OTHER)
        assert denied.reason_text == "You have moved three times."

    @pytest.mark.parametrize(
        ("reasons", "typed", "field", "problem"),
        [
            ([], {}, "reasons", "Choose one to four reasons."),
            (list(DEMO_LIKE.reasons), {}, "reasons", "Choose one to four reasons."),
            (["too_much_debt"] * 2, {}, "reasons", "Give each reason once."),
            ([OTHER], {}, "reason_text", "Say to the applicant"),
            ([OTHER], {"reason_text": "short"}, "reason_text", "at least 10 characters"),
            ([OTHER], {"reason_text": "x" * 201}, "reason_text", "At most 200 characters"),
            (["too_much_debt"], {"reason_text": "x" * 20}, "reason_text", "“Another reason” as"),
            (["too_much_debt"], {"note": "x" * 501}, "note", "At most 500 characters"),
        ],
    )
    def test_that_cannot_be_taken_are_said_at_their_field_and_stay(
        self,
        loan: UUID,
        reasons: list[str],
        typed: dict[str, str],
        field: str,
        problem: str,
    ) -> None:
        response, page = deny(browser_of("uma"), loan, reasons, typed=typed)
        assert response.status_code == 422
        form = response.context["form"]
        assert list(form.errors) == [field]
        assert problem in " ".join(form.errors[field])
        checked = re.findall(r'name="reasons" value="(\w+)"[^>]* checked', page)
        assert checked == list(dict.fromkeys(reasons))
        assert all(each in page for each in typed.values())
        assert len(types_of(loan)) == 3

    @as_htmx_and_without
    def test_that_were_retired_while_the_dialog_was_open_are_named(
        self, uma: Client, loan: UUID, headers: dict[str, str]
    ) -> None:
        retired = DEMO_LIKE.reasons["too_much_debt"].model_copy(update={"active": False})
        reasons = {**DEMO_LIKE.reasons, "too_much_debt": retired}
        put_in_force(DEMO_LIKE.model_copy(update={"reasons": reasons}))
        both, note = ["too_much_debt", "income_too_low"], {"note": "Called twice."}
        response, page = deny(uma, loan, both, headers, typed=note)
        assert response.status_code == 422
        assert "no longer has the reason “Too much debt”" in page
        assert 'value="too_much_debt"' not in page
        assert "Called twice." in page
        _, page = deny(uma, loan, "income_too_low", headers, typed=note)
        assert "Denied: Ann Example." in page
        assert types_of(loan)[3:] == ["ManuallyDenied"]


class TestWhileThePolicyCannotBeRead:
    @pytest.fixture(autouse=True)
    def away(self, monkeypatch: pytest.MonkeyPatch, loan: UUID) -> None:
        def in_force(at: object) -> None:
            raise PolicyUnavailable

        monkeypatch.setattr(policies(), "in_force", in_force)

    def test_what_was_filled_in_stays_in_the_dialog(self, uma: Client, loan: UUID) -> None:
        response, page = deny(uma, loan)
        assert response.status_code == 503
        assert "HX-Retarget" not in response
        assert "Please try again in a minute." in page

    def test_nothing_is_approved(self, uma: Client, loan: UUID) -> None:
        response, page = approve(uma, loan)
        assert response.status_code == 503
        assert "could not be recorded" in page
        assert len(types_of(loan)) == 3

    @as_htmx_and_without
    def test_nobody_is_asked_for_reasons(
        self, uma: Client, loan: UUID, headers: dict[str, str]
    ) -> None:
        path = f"/underwriting/{loan}/deny/"
        page = uma.get(path, headers=headers, follow=True).content.decode()
        assert "cannot be shown at the moment" in page
        assert "<fieldset" not in page
