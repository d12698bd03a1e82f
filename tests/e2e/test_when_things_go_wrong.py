"""What people see in a real browser when an answer is missing, late or a refusal."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit
from uuid import UUID

import pytest
from esdbclient import EventStoreDBClient
from playwright.sync_api import Browser, Page, Route, WebSocketRoute, expect
from pytest_django import Settings

from lepret.common.event_store_client import close_event_store_client, event_store_client
from loans import dependencies
from tests.support.api import application, somebody
from tests.support.browser import new_context, running_browser_with_back_forward_cache
from tests.support.demo import Demo
from tests.support.loans import append_approval
from tests.support.pages import (
    apply,
    expect_live,
    fill_in,
    open_queue,
    page_of,
    row,
    send,
    someone,
    status,
    watch_connection,
)
from tests.support.processes import wait_until
from tests.support.web_servers import running_daphne

# The simulated credit bureau gives this person a score that approves any loan at once.
APPROVED = "999999aa"


@pytest.fixture
def store(demo: Demo, settings: Settings) -> Iterator[EventStoreDBClient]:
    """The demo's event store, which the use cases in this process use too."""
    settings.EVENTSTORE_URI = demo.published["EVENTSTORE_URI"]
    dependencies.event_store.cache_clear()
    dependencies.policies.cache_clear()
    yield event_store_client()
    close_event_store_client()


def requests_in(store: EventStoreDBClient) -> int:
    """How many loan requests have been recorded."""
    return sum(1 for _ in store.read_all(filter_include=["LoanRequested"]))


def path_of(page: Page) -> str:
    return urlsplit(page.url).path


def approved_then_back(page: Page, store: EventStoreDBClient) -> tuple[str, int]:
    """Have a loan approved and go back. Returns its page's path and the number of requests."""
    apply(page, someone(), APPROVED)
    expect(status(page)).to_have_text("Approved")
    path, requests = path_of(page), requests_in(store)
    # Playwright's own `go_back` waits for the page to load, but a cached page does not load.
    page.evaluate("history.back()")
    expect(page.locator("#apply")).to_be_visible()
    return path, requests


def abort(route: Route) -> None:
    """Fail, as without a network."""
    route.abort()


def problem(page: Page) -> str:
    """The form's error message, once it appears."""
    notice = page.locator("#apply .notice:visible")
    expect(notice).to_have_count(1)
    return notice.inner_text()


def expect_that_nothing_is_lost(page: Page, name: str) -> None:
    expect(page.get_by_label("Name")).to_have_value(name)
    expect(page.get_by_label("National ID")).to_have_value(APPROVED)
    expect(page.get_by_label("Amount")).to_have_value("5000")
    expect(page.get_by_role("button", name="Request loan")).to_be_enabled()


class TestGoingBack:
    def test_and_sending_the_form_again_makes_no_second_request(
        self, applicant: Page, store: EventStoreDBClient
    ) -> None:
        first, requests = approved_then_back(applicant, store)
        send(applicant)

        expect(status(applicant)).to_have_text("Approved")
        assert path_of(applicant) == first
        assert requests_in(store) == requests

    def test_and_sending_another_amount_makes_a_second_request_after_a_warning(
        self, applicant: Page, store: EventStoreDBClient
    ) -> None:
        first, requests = approved_then_back(applicant, store)
        applicant.get_by_label("Amount").fill("7000")
        send(applicant)
        assert "as another application" in problem(applicant)
        expect(applicant.get_by_label("Amount")).to_have_value("7000")
        send(applicant)

        expect(status(applicant)).to_have_text("Approved")
        assert path_of(applicant) != first
        assert requests_in(store) == requests + 1


@pytest.fixture
def applicant_elsewhere(browser: Browser, demo: Demo) -> Iterator[Page]:
    """An applicant's page in a browser with a back/forward cache."""
    with running_browser_with_back_forward_cache(beside=browser) as other:
        yield from page_of(other, demo)


def test_a_form_from_the_browsers_cache_can_be_sent_again(
    applicant_elsewhere: Page, store: EventStoreDBClient
) -> None:
    page = applicant_elsewhere
    first, requests = approved_then_back(page, store)
    expect(page.get_by_role("button", name="Request loan")).to_be_enabled()
    send(page)

    expect(status(page)).to_have_text("Approved")
    assert path_of(page) == first
    assert requests_in(store) == requests


class TestTheForm:
    @pytest.mark.parametrize("has_javascript", [True, False])
    def test_that_was_open_for_too_long_can_be_sent_again(
        self, browser: Browser, demo: Demo, *, has_javascript: bool
    ) -> None:
        context = new_context(browser, demo.base_url, java_script_enabled=has_javascript)
        page, name = context.new_page(), someone()
        page.goto("/")
        fill_in(page, name, APPROVED)
        context.clear_cookies()
        send(page)
        assert "open for too long" in problem(page)
        expect_that_nothing_is_lost(page, name)
        send(page)
        expect(status(page)).to_have_text("Approved")
        context.close()

    @pytest.mark.parametrize("failure", ["no network", "an error", "a proxy's page", "no answer"])
    def test_stays_and_says_so_if_no_answer_comes(self, applicant: Page, failure: str) -> None:
        name, held = someone(), list[Route]()
        answers = {
            "no network": abort,
            "an error": lambda route: route.fulfill(status=500, body="<!doctype html><p>No"),
            "a proxy's page": lambda route: route.fulfill(status=503, body="<html><p>No"),
            "no answer": lambda route: held.append(route),  # noqa: PLW0108 (not a built-in)
        }
        applicant.goto("/")
        applicant.evaluate("htmx.config.timeout = 300")
        fill_in(applicant, name, APPROVED)
        applicant.route("**/", answers[failure])
        send(applicant)

        assert "No answer came" in problem(applicant)
        expect_that_nothing_is_lost(applicant, name)
        applicant.unroute("**/")
        applicant.evaluate("htmx.config.timeout = 30000")
        send(applicant)
        expect(status(applicant)).to_have_text("Approved")

    def test_of_someone_with_an_open_request_says_so(self, applicant: Page) -> None:
        national_id = apply(applicant, someone())
        expect(status(applicant)).to_have_text("Under review")
        apply(applicant, someone(), national_id)
        assert "We cannot take this application now" in problem(applicant)
        expect(applicant.get_by_label("National ID")).to_have_value(national_id)


class TestTheQueue:
    def test_is_loaded_again_when_it_is_out_of_date(
        self, applicant: Page, underwriter: Page
    ) -> None:
        name = someone()
        apply(applicant, name)
        shown = row(underwriter, name).locator("form[method=post] > .approve")
        expect(shown).to_have_attribute("value", "2")
        shown.evaluate("button => { button.value = 1 }")

        row(underwriter, name).get_by_role("button", name="Approve", exact=True).click()

        expect(underwriter.locator("#notices")).to_contain_text("has changed since it was shown")
        expect(shown).to_have_attribute("value", "2")
        row(underwriter, name).get_by_role("button", name="Approve", exact=True).click()
        expect(status(applicant)).to_have_text("Approved")

    def test_removes_a_row_that_is_already_decided_even_if_the_page_is_not_live(
        self, browser: Browser, demo: Demo, applicant: Page, underwriter: Page
    ) -> None:
        def cut_off(socket: WebSocketRoute) -> None:
            socket.close()

        name = someone()
        apply(applicant, name)
        expect(row(underwriter, name)).to_have_count(1)
        for colleague in page_of(browser, demo):
            colleague.route_web_socket("**/ws/**", cut_off)
            open_queue(colleague, "admin")
            expect(row(colleague, name)).to_have_count(1)
            row(underwriter, name).get_by_role("button", name="Approve", exact=True).click()
            expect(row(underwriter, name)).to_have_count(0)

            row(colleague, name).get_by_role("button", name="Approve", exact=True).click()

            notices = colleague.locator("#notices")
            expect(notices).to_contain_text("Already approved by underwriter on")
            expect(row(colleague, name)).to_have_count(0)

    def test_says_that_a_decision_may_not_have_been_recorded(
        self, applicant: Page, underwriter: Page
    ) -> None:
        name = someone()
        apply(applicant, name)
        approve = row(underwriter, name).get_by_role("button", name="Approve", exact=True)
        failure = underwriter.locator("#notices > .is-error")
        underwriter.route("**/approve/", abort)
        approve.click()
        expect(failure).to_contain_text("may have been recorded or not")
        underwriter.unroute("**/approve/")
        approve.click()
        expect(underwriter.locator("#notices")).to_contain_text(f"Approved: {name}.")

    def test_shows_no_login_form_inside_the_page_after_a_logout(
        self, applicant: Page, underwriter: Page
    ) -> None:
        name = someone()
        apply(applicant, name)
        expect(row(underwriter, name)).to_have_count(1)
        underwriter.context.clear_cookies(name="sessionid")
        row(underwriter, name).get_by_role("button", name="Approve", exact=True).click()
        expect(underwriter.locator("#main")).to_contain_text("Nothing was recorded.")
        expect(underwriter.get_by_label("Username")).to_have_count(0)
        assert name not in underwriter.content()


def test_a_status_page_that_lost_its_connection_catches_up_when_it_is_back(
    demo: Demo, applicant: Page, store: EventStoreDBClient
) -> None:
    apply(applicant, someone())
    expect(status(applicant)).to_have_text("Under review")
    expect_live(applicant)
    watch_connection(applicant)
    web = demo.kill("web")
    append_approval(UUID(path_of(applicant).split("/")[2]))
    wait_until(lambda: demo.pid_of("web") not in (None, web))

    expect(status(applicant)).to_have_text("Approved")
    expect(applicant.locator(".time-line li")).to_have_count(4)
    expect_live(applicant)
    # It was not reloaded.
    assert applicant.evaluate("states")[0] == "lost"


@pytest.mark.parametrize("javascript", [True, False], ids=["htmx", "without JavaScript"])
def test_whoever_applies_too_often_keeps_what_was_typed(
    browser: Browser, demo: Demo, *, javascript: bool
) -> None:
    limited = {**demo.environment, **demo.published, "APPLICATIONS_PER_NATIONAL_ID": "1/day"}
    with running_daphne({**limited, "LEPRET_DATA_DIR": str(demo.data_dir)}) as web:
        wait_until(web.is_ready, what="the limited web server is ready")
        context = new_context(browser, web.base_url, java_script_enabled=javascript)
        page = context.new_page()
        person, name = somebody(), someone()
        web.apply(application(national_id=person))
        page.goto("/")
        fill_in(page, name, person)
        send(page)
        expect(page.get_by_role("alert").filter(has_text="too many applications")).to_be_visible()
        expect(page.get_by_label("Name", exact=True)).to_have_value(name)
        expect(page.get_by_label("National ID")).to_have_value(person)
        context.close()
