"""The pages of the lending policy: one person proposes a version, another one confirms it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from html import unescape
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from lepret.common.event_store_client import close_event_store_client
from loans.dependencies import policies
from loans.domain.lending_policy import POLICY_ID, Version, WithdrawPolicy
from loans.domain.policy import VERSION_0, Factor, Policy
from tests.support.event_store import RunningEventStore
from tests.support.policies import propose, publish
from tests.support.processes import free_port
from tests.support.staff import make_clerk, make_policy_maker, make_underwriter

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.usefixtures("event_store"),
    # Django's own admin templates use undefined variables.
    pytest.mark.ignore_template_errors,
]

OVERVIEW = "/admin/policy/"
PROPOSE = "/admin/policy/propose/"
STRICTER = Policy(approve_from=9)


def browser_of(user: Any) -> Client:
    browser = Client()
    browser.force_login(user)
    return browser


@pytest.fixture
def pat() -> Client:
    return browser_of(make_policy_maker("pat"))


@pytest.fixture
def paul() -> Client:
    return browser_of(make_policy_maker("paul"))


@pytest.fixture
def away(event_store: RunningEventStore, settings: Settings) -> Iterator[None]:
    """Nothing listens at the event store's address."""
    close_event_store_client()
    settings.EVENTSTORE_URI = f"esdb://127.0.0.1:{free_port()}?tls=false"
    yield
    close_event_store_client()


def text_of(response: Any) -> str:
    return " ".join(unescape(re.sub("<[^>]+>", " ", response.content.decode())).split())


def form_of(browser: Client) -> dict[str, str]:
    """What a browser would send of the form as it was opened."""
    html = browser.get(PROPOSE).content.decode()
    return filled_in(html)


def filled_in(html: str) -> dict[str, str]:
    found = {}
    for tag in re.findall(r"<input[^>]*>", html.split('<form method="post" novalidate>')[1]):
        attributes = dict(re.findall(r'(\w+)="([^"]*)"', tag))
        is_box = attributes.get("type") == "checkbox"
        if "name" in attributes and (not is_box or " checked" in tag):
            found[attributes["name"]] = unescape(attributes.get("value", "on" if is_box else ""))
    for name, value in re.findall(r'<textarea name="(\w+)"[^>]*>\n?([^<]*)</textarea>', html):
        found[name] = unescape(value)
    found["law"] = re.findall(r'<option value="(\w+)" selected>', html)[0]
    return found


def propose_with(browser: Client, **changes: str) -> Any:
    return browser.post(PROPOSE, {**form_of(browser), "why": "Too many defaults", **changes})


def versions() -> tuple[Version, ...]:
    return policies().versions()


class TestTwoPeople:
    def test_one_proposes_and_another_confirms(self, pat: Client, paul: Client) -> None:
        response = propose_with(pat, approve_from="9", automatic_up_to="10,000")
        assert response["Location"] == "/admin/policy/1/"
        [version] = versions()
        assert version.policy == VERSION_0.policy.model_copy(
            update={"approve_from": 9, "automatic_up_to": 10_000}
        )
        assert (version.proposed_by, version.why) == ("pat", "Too many defaults")
        assert "waits for somebody else to confirm it" in text_of(paul.get(OVERVIEW))
        response = paul.post("/admin/policy/1/confirm/", follow=True)
        assert "confirmed by paul, is in force from" in text_of(response)
        assert "within ten seconds" in text_of(response)
        assert versions()[0].confirmed_by == "paul"
        assert "In force: version 1" in text_of(pat.get(OVERVIEW))

    def test_the_proposer_is_told_why_there_is_no_button(self, pat: Client, paul: Client) -> None:
        propose(STRICTER)
        assert "/1/confirm/" not in pat.get("/admin/policy/1/").content.decode()
        assert "You have proposed it" in text_of(pat.get("/admin/policy/1/"))
        assert "/1/confirm/" in paul.get("/admin/policy/1/").content.decode()

    def test_anybody_of_the_group_withdraws(self, pat: Client, paul: Client) -> None:
        propose(STRICTER)
        response = paul.post("/admin/policy/1/withdraw/", follow=True)
        assert "Version 1 was withdrawn by paul." in text_of(response)
        assert versions()[0].withdrawn_by == "paul"
        assert propose_with(pat, approve_from="8").status_code == 302

    def test_a_button_that_is_pressed_twice_does_the_same(self, pat: Client, paul: Client) -> None:
        form = {**form_of(pat), "why": "Twice", "approve_from": "8"}
        answers = [pat.post(PROPOSE, form)["Location"] for _ in range(2)]
        assert answers == ["/admin/policy/1/"] * 2
        for _ in range(2):
            response = paul.post("/admin/policy/1/confirm/", follow=True)
            assert "in force from" in text_of(response)
        assert len(versions()) == 1

    def test_for_a_day_to_come(self, pat: Client, paul: Client) -> None:
        tomorrow = timezone.localtime() + timedelta(days=1)
        propose_with(pat, approve_from="9", effective_at=f"{tomorrow:%Y-%m-%dT%H:%M}")
        paul.post("/admin/policy/1/confirm/")
        assert versions()[0].effective_at == tomorrow.replace(second=0, microsecond=0)
        assert "In force: version 0" in text_of(pat.get(OVERVIEW))
        assert "State: from " in text_of(pat.get("/admin/policy/1/"))
        pat.post("/admin/policy/1/withdraw/")
        assert "State: withdrawn" in text_of(pat.get("/admin/policy/1/"))


class TestRefusals:
    def refused(self, browser: Client, path: str) -> str:
        before = versions()
        text = text_of(browser.post(path, follow=True))
        assert versions() == before
        return text

    def test_of_ones_own(self, pat: Client) -> None:
        propose(STRICTER)
        assert "You have proposed this version" in self.refused(pat, "/admin/policy/1/confirm/")

    def test_of_what_others_have_done_since_the_page_was_opened(
        self, pat: Client, paul: Client
    ) -> None:
        publish(STRICTER)
        text = self.refused(browser_of(make_policy_maker("pia")), "/admin/policy/1/confirm/")
        assert "Version 1 was confirmed by paul." in text
        assert "has been in force" in self.refused(pat, "/admin/policy/1/withdraw/")
        propose(Policy(approve_from=8))
        policies().carry_out(
            WithdrawPolicy(id=POLICY_ID, issued_at=timezone.now(), by="pat", version=2)
        )
        text = self.refused(paul, "/admin/policy/2/confirm/")
        assert "Version 2 was withdrawn by pat." in text

    @pytest.mark.parametrize("number", ["0", "3", "9" * 30])
    @pytest.mark.parametrize("page", ["", "confirm/", "withdraw/"])
    def test_of_versions_that_there_are_not(self, pat: Client, number: str, page: str) -> None:
        path = f"/admin/policy/{number}/{page}"
        assert (pat.post(path) if page else pat.get(path)).status_code == 404

    def test_of_a_second_proposal(self, pat: Client, paul: Client) -> None:
        form = {**form_of(pat), "why": "Mine", "approve_from": "8"}
        propose(STRICTER, by="paul")
        response = pat.post(PROPOSE, form)
        assert response.status_code == 409
        assert "version 1 was proposed by paul" in text_of(response)
        again = filled_in(response.content.decode())
        assert (again["why"], again["approve_from"]) == ("Mine", "8")
        response = pat.post(PROPOSE, again)
        assert response.status_code == 409
        assert "Version 1 waits for its confirmation." in text_of(response)

    def test_of_a_form_from_before_another_version(self, pat: Client) -> None:
        form = {**form_of(pat), "why": "Mine", "approve_from": "8"}
        publish(STRICTER, by="pia")
        response = pat.post(PROPOSE, form)
        assert (response.status_code, len(versions())) == (409, 1)
        assert pat.post(PROPOSE, filled_in(response.content.decode())).status_code == 302
        assert versions()[1].policy.approve_from == 8

    def test_of_codes_that_are_left_out(self, pat: Client) -> None:
        form = {**form_of(pat), "why": "Fewer", "reasons-0-code": "", "reasons-0-staff": ""}
        response = pat.post(PROPOSE, {**form, "reasons-0-applicant": ""})
        assert response.status_code == 409
        assert "has the codes income_too_low" in text_of(response)

    def test_of_a_time_in_the_past(self, pat: Client) -> None:
        response = propose_with(pat, effective_at="2020-01-01T09:00")
        assert response.status_code == 409
        assert "a moment in the past" in text_of(response)

    @pytest.mark.parametrize(
        ("field", "typed", "words"),
        [
            ("why", "", "This field is required."),
            ("approve_from", "many", "Write a whole number."),
            ("approve_from", "12", "At most 11."),
            ("deny_up_to", "-1", "Write a whole number."),
            ("automatic_up_to", "ten", "Write a whole number of"),
            ("four_eyes_above", "1000", "otherwise nobody would look"),
            ("deny_up_to", "9", "must be below"),
            ("lease", "soon", "Write a time such as"),
            ("lease", "0 minutes", "from a second to 366 days"),
            ("offer_days", "91", "At most 90."),
            ("currency", "pounds", "Write three capital letters."),
            ("law", "mars", "Input should be 'us', 'eu' or 'both'."),
            ("effective_at", "tomorrow", "Write a date and a time, or nothing."),
            ("effective_at", "2027-02-31T09:00", "Write a date and a time, or nothing."),
            ("lender_phone", "12", "This field is required."),
            ("reasons-0-staff", "", "This field is required."),
            ("reasons-5-code", "New Code", "A code has letters, digits"),
            ("reasons-5-staff", "Words", "A code has letters, digits"),
            ("reasons-5-code", "other", "This code is there twice."),
            ("factors-0-code", "other", "This code is there twice."),
            ("factors-0-applicant", "Words", "A code has letters, digits"),
            ("reasons-TOTAL_FORMS", "9999", "Please correct"),
            ("reasons-TOTAL_FORMS", "x", "Please correct"),
        ],
    )
    def test_of_what_is_typed_wrong(self, pat: Client, field: str, typed: str, words: str) -> None:
        response = propose_with(pat, **{field: typed})
        assert response.status_code == 422
        assert words in text_of(response)
        assert versions() == ()


class TestReading:
    def test_all_of_a_policy_is_there(self, pat: Client) -> None:
        policy = Policy(
            automatic_up_to=10_000,
            four_eyes_above=20_000,
            factors={"late_payments": Factor(applicant="You have paid late.", active=False)},
        )
        publish(policy)
        text = text_of(pat.get(OVERVIEW))
        for words in (
            "scores from 1 to 4",
            "scores from 5 to 6",
            "scores from 7 to 10",
            "£10,000",
            "£20,000",
            "income_too_low Income too low Your income is too low for this amount. yes",
            "late_payments You have paid late. no",
            "10 minutes",
            "The underwriters' desk An underwriter's claim holds for 10 minutes",
            "To be decided within 2 days Seconds to undo a decision 0",
            "For later Nothing goes by these yet. Days that an offer holds",
        ):
            assert words in text

    def test_only_what_is_different_is_among_the_changes(self, pat: Client) -> None:
        publish(STRICTER)
        propose(Policy(approve_from=8, factors={"late_payments": Factor(applicant="Late.")}))
        html = pat.get("/admin/policy/2/").content.decode()
        assert re.findall("<del>(.*?)</del>", html) == [
            "scores from 5 to 8", "scores from 9 to 10", "-", "-",
        ]  # fmt: skip
        assert re.findall("<ins>(.*?)</ins>", html) == [
            "scores from 5 to 7", "scores from 8 to 10", "Late.", "yes",
        ]  # fmt: skip

    def test_history(self, pat: Client) -> None:
        publish(STRICTER)
        publish(Policy(approve_from=8))
        propose(Policy(approve_from=10))
        text = text_of(pat.get(OVERVIEW))
        assert "Version 3 waits for its confirmation by pat" in text
        assert "Version 2 in force by pat" in text
        assert "Version 1 replaced by pat" in text

    def test_a_new_proposal_begins_with_the_latest_version(self, pat: Client) -> None:
        publish(Policy(approve_from=9, automatic_up_to=5_000))
        form = form_of(pat)
        assert (form["approve_from"], form["automatic_up_to"]) == ("9", "5,000")
        propose_with(pat)
        assert versions()[1].policy == versions()[0].policy


class TestWhoMay:
    def test_the_back_office_looks(self) -> None:
        propose(STRICTER)
        clerk = browser_of(make_clerk())
        assert "Propose a version" not in text_of(clerk.get(OVERVIEW))
        assert "submit-row" not in clerk.get("/admin/policy/1/").content.decode()
        for path in ("propose/", "1/confirm/", "1/withdraw/"):
            assert clerk.post(OVERVIEW + path).status_code == 403

    def test_underwriters_do_not(self) -> None:
        assert browser_of(make_underwriter()).get(OVERVIEW).status_code == 403

    def test_who_makes_policy_comes_here_and_finds_it_on_the_first_page(self, pat: Client) -> None:
        assert pat.get("/accounts/home/")["Location"] == OVERVIEW
        html = pat.get("/admin/").content.decode()
        assert f'href="{OVERVIEW}"' in html
        assert f'href="{PROPOSE}"' in html
        assert "Back office" not in html
        assert f'href="{PROPOSE}"' not in browser_of(make_clerk()).get("/admin/").content.decode()

    def test_a_form_needs_its_token(self) -> None:
        browser = Client(enforce_csrf_checks=True)
        browser.force_login(make_policy_maker())
        assert browser.post(PROPOSE).status_code == 403


class TestTheEventStoreIsAway:
    def test_what_was_typed_is_kept(
        self, pat: Client, event_store: RunningEventStore, settings: Settings
    ) -> None:
        form = {**form_of(pat), "why": "My words", "approve_from": "8"}
        event_store.stop()
        settings.EVENTSTORE_TIMEOUT_SECONDS = 0.5
        response = pat.post(PROPOSE, form)
        assert response.status_code == 503
        assert "What you typed is still here" in text_of(response)
        assert filled_in(response.content.decode())["why"] == "My words"

    @pytest.mark.usefixtures("away")
    def test_the_pages_say_so(self, pat: Client) -> None:
        for path in (OVERVIEW, PROPOSE, "/admin/policy/1/"):
            response = pat.get(path)
            assert response.status_code == 503
            assert "cannot be read now" in text_of(response)
        for path in ("/admin/policy/1/confirm/", "/admin/policy/1/withdraw/"):
            response = pat.post(path)
            assert response.status_code == 503
            assert "could not be recorded" in text_of(response)
