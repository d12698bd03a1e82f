"""Who works on a request, said on the underwriters' pages: claims, hand-overs, escalations."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from typing import Any, Final
from uuid import UUID, uuid4

import pytest
from django.test import Client
from django.utils import timezone

from lepret.common.formats import moment
from loans.adapters.codec import loan_request_stream
from loans.application import use_cases
from loans.dependencies import event_store as loans_store
from loans.dependencies import policies
from loans.domain.commands import ClaimRequest
from loans.domain.loan_request import Claim, LoanRequest, fold
from tests.support.loans import append_approval, append_note, append_requested_loan
from tests.support.staff import make_clerk, make_lead, make_underwriter
from tests.support.workers import types_of

pytestmark = [pytest.mark.usefixtures("streams", "no_patience"), pytest.mark.django_db]

HTMX: Final = {"HX-Request": "true", "HX-Target": "notices"}
FROM_DIALOG: Final = {"HX-Request": "true", "HX-Target": "dialog-problem"}
as_htmx_and_without = pytest.mark.parametrize("headers", [HTMX, {}], ids=["htmx", "without"])


@pytest.fixture
def loan() -> UUID:
    """A request that is under review."""
    return append_requested_loan(score=5).loan_request_id


class Desk:
    """An underwriter at their pages."""

    def __init__(self, username: str, *, is_lead: bool = False) -> None:
        self.username = username
        self.client = Client()
        self.client.force_login((make_lead if is_lead else make_underwriter)(username))

    def post(
        self, loan: object, action: str, headers: dict[str, str] = HTMX, /, **form: Any
    ) -> tuple[Any, str]:
        path = f"/underwriting/{loan}/{action}/"
        response = self.client.post(path, form, headers=headers)
        return response, response.content.decode()

    def ask(self, loan: UUID, action: str, headers: dict[str, str] = HTMX, /, **query: str) -> str:
        response = self.client.get(f"/underwriting/{loan}/{action}/", query, headers=headers)
        assert response.status_code == 200
        return response.content.decode()

    def next(self, *ids: object, headers: dict[str, str] = HTMX) -> Any:
        return self.client.post("/underwriting/next/", {"ids": ids}, headers=headers)


@pytest.fixture
def uma() -> Desk:
    return Desk("uma")


@pytest.fixture
def ursula() -> Desk:
    return Desk("ursula")


@pytest.fixture
def lena() -> Desk:
    """A lead."""
    return Desk("lena", is_lead=True)


def state_of(loan: UUID) -> LoanRequest:
    return fold(loans_store().load(loan_request_stream(loan)).events)


def holder_of(loan: UUID) -> str | None:
    held = state_of(loan).held_at(timezone.now())
    return None if held is None else held.by


def claimed_by(username: str, loan: UUID, *, ago: timedelta = timedelta(0)) -> Claim:
    command = ClaimRequest(id=loan, issued_at=timezone.now() - ago, by=username)
    answer = use_cases.claim_request(command, event_store=loans_store(), policies=policies())
    assert answer.state.claim is not None
    return answer.state.claim


def event_in(response: Any, name: str) -> dict[str, str]:
    detail: dict[str, str] = json.loads(response["HX-Trigger"])[name]
    return detail


class TestClaiming:
    def test_says_until_when_and_tells_the_page_before_the_frame_comes(
        self, uma: Desk, loan: UUID
    ) -> None:
        response, page = uma.post(loan, "claim")
        claim = state_of(loan).claim
        assert claim is not None
        assert response.status_code == 200
        assert f"You hold the request of Zoe Quillfeather until {moment(claim.until)}." in page
        until = claim.until.isoformat()
        assert event_in(response, "claimed") == {"id": str(loan), "by": "uma", "until": until}
        assert response["Cache-Control"].endswith("no-store, must-revalidate, private")

    def test_without_a_script_leads_to_the_request(self, uma: Desk, loan: UUID) -> None:
        response, _ = uma.post(loan, "claim", {})
        assert re.fullmatch(rf"/underwriting/{loan}/\?after=\d+", response["Location"])
        assert holder_of(loan) == "uma"

    def test_again_soon_records_nothing_more(self, uma: Desk, loan: UUID) -> None:
        first, again = (uma.post(loan, "claim")[0] for _ in range(2))
        assert again["HX-Trigger"] == first["HX-Trigger"]
        assert types_of(loan)[3:] == ["RequestClaimed"]

    def test_goes_on_when_half_of_the_time_is_over(self, uma: Desk, loan: UUID) -> None:
        lease = policies().in_force(timezone.now()).policy.lease
        claimed_by("uma", loan, ago=lease / 2)
        assert uma.post(loan, "claim")[0].status_code == 200
        assert types_of(loan)[3:] == ["RequestClaimed", "ClaimExtended"]

    @as_htmx_and_without
    def test_what_another_holds_is_refused_in_words(
        self, ursula: Desk, loan: UUID, headers: dict[str, str]
    ) -> None:
        claim = claimed_by("uma", loan)
        response = ursula.client.post(
            f"/underwriting/{loan}/claim/", headers=headers, follow=not headers
        )
        page = response.content.decode()
        assert f"uma works on this request until {moment(claim.until)}" in page
        assert "ask uma to hand it over to you" in page
        if headers:
            assert response.status_code == 409
            assert "outdated" in response["HX-Trigger-After-Swap"]
        assert holder_of(loan) == "uma"

    def test_what_another_held_is_free(self, ursula: Desk, loan: UUID) -> None:
        claimed_by("uma", loan, ago=policies().in_force(timezone.now()).policy.lease)
        assert ursula.post(loan, "claim")[0].status_code == 200
        assert holder_of(loan) == "ursula"

    @pytest.mark.parametrize("action", ["claim", "release"])
    def test_of_nobody_is_not_found(self, uma: Desk, action: str) -> None:
        assert uma.post(uuid4(), action)[0].status_code == 404

    def test_what_is_decided_is_refused(self, uma: Desk, loan: UUID) -> None:
        append_approval(loan)
        response, page = uma.post(loan, "claim")
        assert response.status_code == 409
        assert "Already approved by uma" in page

    @pytest.mark.parametrize("action", ["claim", "release", "hand-over", "escalate", "approve"])
    def test_is_for_underwriters(self, client: Client, loan: UUID, action: str) -> None:
        client.force_login(make_clerk())
        for send in (client.get, client.post):
            assert send(f"/underwriting/{loan}/{action}/").status_code == 403
        assert client.post("/underwriting/next/", {"ids": [loan]}).status_code == 403
        assert len(types_of(loan)) == 3

    @pytest.mark.parametrize("action", ["claim", "release", "next"])
    def test_takes_a_post(self, uma: Desk, loan: UUID, action: str) -> None:
        path = f"/underwriting/{loan}/{action}/" if action != "next" else "/underwriting/next/"
        assert uma.client.get(path).status_code == 405

    @pytest.mark.usefixtures("no_event_store")
    @pytest.mark.parametrize("action", ["claim", "release", "hand-over", "escalate"])
    def test_without_the_store_nothing_is_lost(self, uma: Desk, ursula: Desk, action: str) -> None:
        loan = uuid4()
        response, page = uma.post(loan, action, FROM_DIALOG, to="ursula", why="Lunch.")
        assert response.status_code == 503
        assert "could not be recorded. Please try again in a minute." in page
        assert "HX-Retarget" not in response or response["HX-Retarget"] == "#notices"


class TestDecisions:
    def test_on_what_another_holds_are_refused(self, ursula: Desk, loan: UUID) -> None:
        claimed_by("uma", loan)
        for action, form in (("approve", {}), ("deny", {"reasons": "too_much_debt"})):
            response, page = ursula.post(loan, action, shown_revision=3, **form)
            assert response.status_code == 409
            assert "uma works on this request until" in page
        assert types_of(loan)[3:] == ["RequestClaimed"]

    def test_on_a_screen_from_before_a_claim_stand_and_from_before_a_note_do_not(
        self, uma: Desk, loan: UUID
    ) -> None:
        claimed_by("uma", loan)
        append_note(loan)
        response, page = uma.post(loan, "approve", shown_revision=2)
        assert response.status_code == 409
        assert "has changed since it was shown" in page
        uma.post(loan, "release")
        assert uma.post(loan, "approve", shown_revision=4)[0].status_code == 200

    def test_on_what_was_left_to_leads_are_theirs(self, uma: Desk, lena: Desk, loan: UUID) -> None:
        uma.post(loan, "escalate", FROM_DIALOG, why="Odd papers.")
        response, page = uma.post(loan, "deny", shown_revision=3, reasons="too_much_debt")
        assert response.status_code == 409
        assert "left to the lead underwriters" in page
        assert lena.post(loan, "approve", shown_revision=3)[0].status_code == 200

    @as_htmx_and_without
    def test_to_approve_there_is_a_dialog_with_a_note(
        self, uma: Desk, loan: UUID, headers: dict[str, str]
    ) -> None:
        page = uma.ask(loan, "approve", headers, shown_revision="2")
        assert "Approve the request of Zoe Quillfeather" in page
        assert 'name="shown_revision" value="2"' in page
        headers = FROM_DIALOG if headers else {}
        too_long = {"shown_revision": 2, "note": "x" * 501}
        response, page = uma.post(loan, "approve", headers, **too_long)
        assert response.status_code == 422
        assert "x" * 501 in page
        assert list(response.context["form"].errors) == ["note"]
        response, _ = uma.post(loan, "approve", headers, shown_revision=2, note="A good customer.")
        assert response.status_code == (200 if headers else 302)
        decision = state_of(loan).decision
        assert decision is not None
        assert (decision.decided_by, decision.note) == ("uma", "A good customer.")


class TestReleasing:
    def test_lets_go_once(self, uma: Desk, loan: UUID) -> None:
        claimed_by("uma", loan)
        for _ in range(2):
            response, page = uma.post(loan, "release")
            assert "Nobody holds the request of Zoe Quillfeather now." in page
            assert event_in(response, "released") == {"id": str(loan), "by": "", "until": ""}
        assert types_of(loan)[3:] == ["RequestClaimed", "RequestReleased"]

    def test_what_another_holds_does_nothing_and_says_who(self, ursula: Desk, loan: UUID) -> None:
        claimed_by("uma", loan)
        response, page = ursula.post(loan, "release")
        assert "uma holds the request of Zoe Quillfeather until" in page
        assert event_in(response, "claimed")["by"] == "uma"
        assert holder_of(loan) == "uma"

    @pytest.mark.parametrize(
        ("back", "page"), [("request", "/underwriting/{}/"), ("//evil.example", "/underwriting/")]
    )
    def test_without_a_script_leads_back(self, uma: Desk, loan: UUID, back: str, page: str) -> None:
        response, _ = uma.post(loan, "release", {}, back=back)
        assert response["Location"].partition("?")[0] == page.format(loan)


class TestHandingOver:
    @as_htmx_and_without
    def test_offers_all_other_underwriters(
        self, uma: Desk, ursula: Desk, lena: Desk, loan: UUID, headers: dict[str, str]
    ) -> None:
        make_clerk()
        gone = make_underwriter("gone")
        gone.is_active = False
        gone.save()
        page = uma.ask(loan, "hand-over", headers)
        assert re.findall(r'<option value="(\w*)"', page) == ["", "lena", "ursula"]
        assert "lena (lead)" in page
        page = lena.ask(loan, "hand-over", headers)
        assert re.findall(r'<option value="(\w*)"', page) == ["", "lena", "uma", "ursula"]

    def test_gives_it_away_for_longer(self, uma: Desk, ursula: Desk, loan: UUID) -> None:
        before = claimed_by("uma", loan)
        response, page = uma.post(loan, "hand-over", FROM_DIALOG, to="ursula", why="Lunch.")
        claim = state_of(loan).claim
        assert claim is not None
        assert (claim.by, claim.until > before.until) == ("ursula", True)
        assert f"ursula holds the request of Zoe Quillfeather until {moment(claim.until)}" in page
        assert response["HX-Retarget"] == "#notices"
        assert event_in(response, "claimed")["by"] == "ursula"
        assert "works on this request" in uma.post(loan, "approve", shown_revision=2)[1]

    @pytest.mark.parametrize(
        ("form", "field", "problem"),
        [
            ({}, "to", "Choose an underwriter."),
            ({"to": ""}, "to", "Choose an underwriter."),
            ({"to": "nobody"}, "to", "Nobody who decides"),
            ({"to": "clem"}, "to", "Nobody who decides"),
            ({"to": "gone"}, "to", "Nobody who decides"),
            ({"to": "ursula\x00"}, "to", "Nobody who decides"),
            ({"to": "ursula", "why": "x" * 501}, "why", "At most 500 characters."),
            ({"to": "ursula", "why": "a\x07"}, "why", "No control characters"),
        ],
    )
    @pytest.mark.usefixtures("ursula")
    def test_to_nobody_who_could_is_refused_at_the_field(
        self, uma: Desk, loan: UUID, form: dict[str, str], field: str, problem: str
    ) -> None:
        make_clerk("clem")
        gone = make_underwriter("gone")
        gone.is_active = False
        gone.save()
        claimed_by("uma", loan)
        for headers in (FROM_DIALOG, {}):
            response, _ = uma.post(loan, "hand-over", headers, **form)
            assert response.status_code == 422
            errors = response.context["form"].errors
            assert list(errors) == [field]
            assert problem in " ".join(errors[field])
        assert types_of(loan)[3:] == ["RequestClaimed"]

    def test_of_what_nobody_holds_is_for_leads(
        self, uma: Desk, ursula: Desk, lena: Desk, loan: UUID
    ) -> None:
        response, page = uma.post(loan, "hand-over", FROM_DIALOG, to="ursula")
        assert response.status_code == 409
        assert "Claim this loan request before you hand it over." in page
        assert lena.post(loan, "hand-over", FROM_DIALOG, to="ursula")[0].status_code == 200
        assert holder_of(loan) == "ursula"

    def test_of_what_another_holds_is_for_leads_who_say_why(
        self, uma: Desk, ursula: Desk, lena: Desk, loan: UUID
    ) -> None:
        claimed_by("uma", loan)
        assert ursula.post(loan, "hand-over", FROM_DIALOG, to="ursula")[0].status_code == 409
        response, _ = lena.post(loan, "hand-over", FROM_DIALOG, to="lena")
        assert response.status_code == 422
        assert list(response.context["form"].errors) == ["why"]
        assert holder_of(loan) == "uma"
        response, page = lena.post(loan, "hand-over", FROM_DIALOG, to="lena", why="She is ill.")
        assert "You hold the request" in page
        assert holder_of(loan) == "lena"

    def test_of_what_was_left_to_leads_is_to_one_of_them(
        self, uma: Desk, lena: Desk, loan: UUID
    ) -> None:
        lea = Desk("lea", is_lead=True)
        lena.post(loan, "escalate", FROM_DIALOG, why="Odd papers.")
        lena.post(loan, "claim")
        response, page = lena.post(loan, "hand-over", FROM_DIALOG, to="uma")
        assert response.status_code == 422
        assert "left to the lead underwriters. Choose one of them." in page
        lena.post(loan, "hand-over", FROM_DIALOG, to="lea")
        assert lea.post(loan, "approve", shown_revision=3)[0].status_code == 200

    def test_without_a_script_leads_back_to_the_request(
        self, uma: Desk, ursula: Desk, loan: UUID
    ) -> None:
        claimed_by("uma", loan)
        page = uma.ask(loan, "hand-over", {}, back="request")
        assert '<input type="hidden" name="back" value="request">' in page
        assert f'<a href="/underwriting/{loan}/">Cancel</a>' in page
        response, _ = uma.post(loan, "hand-over", {}, back="request", to="ursula")
        assert response["Location"].startswith(f"/underwriting/{loan}/?after=")


class TestEscalating:
    def test_leaves_it_to_leads_once(self, uma: Desk, lena: Desk, loan: UUID) -> None:
        claimed_by("uma", loan)
        for _ in range(2):
            response, page = uma.post(loan, "escalate", FROM_DIALOG, why="Odd papers.")
            assert "The lead underwriters decide on the request of Zoe Quillfeather now." in page
            assert event_in(response, "released")["id"] == str(loan)
        assert types_of(loan)[3:] == ["RequestClaimed", "RequestEscalated"]
        assert uma.post(loan, "claim")[0].status_code == 409
        assert lena.post(loan, "claim")[0].status_code == 200

    @pytest.mark.parametrize("why", ["", " \n", "x" * 501, "a\u202eb"])
    @pytest.mark.parametrize("headers", [FROM_DIALOG, {}], ids=["htmx", "without"])
    def test_takes_a_reason(self, uma: Desk, loan: UUID, why: str, headers: dict[str, str]) -> None:
        response, page = uma.post(loan, "escalate", headers, why=why)
        assert response.status_code == 422
        assert list(response.context["form"].errors) == ["why"]
        assert "Escalate the request of Zoe Quillfeather" in page
        assert len(types_of(loan)) == 3

    def test_what_another_holds_is_refused(self, ursula: Desk, loan: UUID) -> None:
        claimed_by("uma", loan)
        assert ursula.post(loan, "escalate", FROM_DIALOG, why="Odd.")[0].status_code == 409

    def test_asks_nobody_about_what_is_decided(self, uma: Desk, loan: UUID) -> None:
        append_approval(loan)
        response = uma.client.get(f"/underwriting/{loan}/escalate/", headers=HTMX)
        assert response.status_code == 409
        assert "Already approved" in response.content.decode()


class TestTheNextOne:
    @as_htmx_and_without
    def test_is_the_first_that_is_free(
        self, uma: Desk, loan: UUID, headers: dict[str, str]
    ) -> None:
        claimed_by("ursula", loan)
        free = append_requested_loan(score=5).loan_request_id
        later = append_requested_loan(score=5).loan_request_id
        response = uma.next("nonsense", uuid4(), loan, free, later, headers=headers)
        where = response.get("HX-Redirect") or response["Location"]
        assert re.fullmatch(rf"/underwriting/{free}/\?after=\d+", where)
        assert [holder_of(each) for each in (loan, free, later)] == ["ursula", "uma", None]

    def test_is_none_where_others_were_quicker(self, uma: Desk, loan: UUID) -> None:
        claimed_by("ursula", loan)
        response = uma.next(loan)
        assert response.status_code == 409
        assert "Others were quicker, look again." in response.content.decode()
        assert "outdated" in response["HX-Trigger-After-Swap"]

    @pytest.mark.parametrize("ids", [(), ("",), ("nonsense", "1")])
    def test_is_none_where_none_is_offered(self, uma: Desk, ids: tuple[str, ...]) -> None:
        response = uma.next(*ids)
        assert response.status_code == 200
        assert "There is nothing to take at the moment." in response.content.decode()

    def test_of_50_at_most(self, uma: Desk, loan: UUID) -> None:
        assert uma.next(*["nonsense"] * 50, loan).status_code == 200
        assert holder_of(loan) is None

    def test_is_none_that_was_left_to_leads_but_for_leads(
        self, uma: Desk, lena: Desk, loan: UUID
    ) -> None:
        uma.post(loan, "escalate", FROM_DIALOG, why="Odd papers.")
        assert uma.next(loan).status_code == 409
        assert "HX-Redirect" in lena.next(loan)
