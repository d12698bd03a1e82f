"""What live pages say of their connection, of times and in their titles, in a real browser."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import pytest
from playwright.sync_api import Browser, Page, Route, WebSocketRoute, expect

from tests.support.browser import new_context
from tests.support.demo import SECONDS_TO_START, Demo
from tests.support.pages import apply, expect_live, row, someone, status, watch_connection
from tests.support.processes import wait_until
from tests.support.swallowing_proxy import SwallowingProxy, running_swallowing_proxy
from tests.support.web_servers import WebServer, running_daphne

HOUR_MS: Final = 3_600_000

# Lets `Date` be ahead, as on a desk whose clock is wrong or whose machine was asleep.
_CLOCK: Final = """
window.clockAhead = %d;
window.Date = class extends Date {
  constructor(...parts) { parts.length ? super(...parts) : super(super.constructor.now()); }
  static now() { return super.now() + clockAhead; }
};
"""
_COUNT_HEARTBEATS: Final = """
window.heartbeats = 0;
document.addEventListener("htmx:wsBeforeMessage", ({ detail }) => {
  if (detail.message.startsWith("{")) heartbeats++;
});
"""
_COUNT_CONNECTIONS: Final = """
window.connections = 0;
document.addEventListener("htmx:wsConnecting", () => { connections++; });
"""

comes_back = pytest.mark.parametrize(
    "happen",
    [
        "document.dispatchEvent(new Event('visibilitychange'))",
        "window.dispatchEvent(new Event('online'))",
        "clockAhead += 60_000",
    ],
    ids=["it becomes visible", "the network is back", "the machine wakes"],
)


@contextmanager
def web_server(demo: Demo, settings: str) -> Iterator[WebServer]:
    """A web server of the demo's with other settings."""
    environment = {**demo.environment, **demo.published, "DJANGO_SETTINGS_MODULE": settings}
    with running_daphne({**environment, "LEPRET_DATA_DIR": str(demo.data_dir)}) as web:
        wait_until(web.is_ready, SECONDS_TO_START, what="the web server is ready")
        yield web


@pytest.fixture(scope="module")
def lively(demo: Demo) -> Iterator[WebServer]:
    """A web server that sends heartbeats all the time."""
    with web_server(demo, "tests.impatient_settings") as web:
        yield web


@pytest.fixture(scope="module")
def quiet(demo: Demo) -> Iterator[WebServer]:
    """A web server that sends none for minutes."""
    with web_server(demo, "tests.patient_settings") as web:
        yield web


@pytest.fixture
def network(lively: WebServer) -> Iterator[SwallowingProxy]:
    """What is between the pages and the lively web server."""
    with running_swallowing_proxy(lively.port) as network:
        yield network


@pytest.fixture
def quiet_network(quiet: WebServer) -> Iterator[SwallowingProxy]:
    with running_swallowing_proxy(quiet.port) as network:
        yield network


@contextmanager
def page_at(base_url: str, browser: Browser, session: str = "", **options: Any) -> Iterator[Page]:
    """A page, logged in with this session cookie; the options are those of a browser context."""
    context = new_context(browser, base_url, **options)
    if session:
        context.add_cookies([{"name": "sessionid", "value": session, "url": base_url}])
    yield context.new_page()
    context.close()


@pytest.fixture
def page(browser: Browser, network: SwallowingProxy, sessions: dict[str, str]) -> Iterator[Page]:
    """An underwriter's page of the lively web server, not opened yet."""
    with page_at(network.base_url, browser, sessions["underwriter"]) as page:
        yield page


@pytest.fixture
def quiet_queue(
    browser: Browser, quiet_network: SwallowingProxy, sessions: dict[str, str]
) -> Iterator[Page]:
    """A live queue, which is sent nothing unless something happens."""
    with page_at(quiet_network.base_url, browser, sessions["underwriter"]) as page:
        page.add_init_script(_CLOCK % 0 + _COUNT_HEARTBEATS + _COUNT_CONNECTIONS)
        open_queue(page)
        yield page


def open_queue(page: Page) -> None:
    page.goto("/underwriting/")
    expect_live(page)


def wait_for(page: Page, condition: str) -> None:
    """Wait until this is so in the page. Playwright's own function is against the pages' policy."""
    wait_until(lambda: page.evaluate(condition), what=condition)


def expect_lost(page: Page) -> None:
    expect(page.locator("#connection")).to_have_text("Connection lost, trying again…")


class TestAConnectionThatIsDead:
    def test_is_noticed_and_the_queue_is_true_when_it_is_back(
        self, page: Page, network: SwallowingProxy, applicant: Page
    ) -> None:
        before, meanwhile = someone(), someone()
        apply(applicant, before)
        open_queue(page)
        expect(row(page, before)).to_have_count(1)

        network.is_swallowing = True
        expect_lost(page)
        apply(applicant, meanwhile)
        expect(status(applicant)).to_have_text("Under review")
        expect(row(page, meanwhile)).to_have_count(0)

        network.is_swallowing = False
        expect(row(page, meanwhile)).to_have_count(1)
        expect(row(page, before)).to_have_count(1)
        expect_live(page)

    def test_is_noticed_by_an_applicant_who_sees_the_outcome_when_it_is_back(
        self, browser: Browser, network: SwallowingProxy, underwriter: Page
    ) -> None:
        with page_at(network.base_url, browser) as applicant:
            apply(applicant, name := someone())
            expect(status(applicant)).to_have_text("Under review")
            expect_live(applicant)

            network.is_swallowing = True
            expect_lost(applicant)
            row(underwriter, name).get_by_role("button", name="Approve", exact=True).click()
            expect(underwriter.locator("#notices")).to_contain_text(f"Approved: {name}.")
            expect(status(applicant)).to_have_text("Under review")

            network.is_swallowing = False
            expect(status(applicant)).to_have_text("Approved")
            expect_live(applicant)

    def test_is_lost_until_it_works_however_many_others_are_tried(
        self, page: Page, network: SwallowingProxy
    ) -> None:
        page.add_init_script(_COUNT_CONNECTIONS)
        open_queue(page)
        network.is_swallowing = True
        expect_lost(page)
        watch_connection(page)
        wait_for(page, "connections > 3")
        assert page.evaluate("states") == []

    @comes_back
    def test_is_noticed_sooner_when(
        self, quiet_queue: Page, quiet_network: SwallowingProxy, happen: str
    ) -> None:
        quiet_network.is_swallowing = True
        quiet_queue.evaluate(happen)
        expect_lost(quiet_queue)

        quiet_network.is_swallowing = False
        expect_live(quiet_queue)


class TestAConnectionThatWorks:
    def test_stays_though_nothing_changes(self, page: Page) -> None:
        page.add_init_script(_COUNT_HEARTBEATS)
        open_queue(page)
        watch_connection(page)
        wait_for(page, "heartbeats > 10")
        assert page.evaluate("states") == []
        expect_live(page)

    @comes_back
    def test_is_asked_again_when(self, quiet_queue: Page, happen: str) -> None:
        watch_connection(quiet_queue)
        assert quiet_queue.evaluate("heartbeats") == 1
        quiet_queue.evaluate(happen)
        wait_for(quiet_queue, "heartbeats == 2")
        assert quiet_queue.evaluate("states") == []
        assert quiet_queue.evaluate("connections") == 1

    def test_stays_however_often_somebody_comes_and_goes(self, quiet_queue: Page) -> None:
        watch_connection(quiet_queue)
        for _ in range(50):
            quiet_queue.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        wait_for(quiet_queue, "heartbeats > 1")
        assert quiet_queue.evaluate("states") == []

    def test_does_not_make_a_page_live_that_is_sent_nothing_else(self, page: Page) -> None:
        def beat(socket: WebSocketRoute) -> None:
            socket.send(json.dumps({"now": 0}))

        page.add_init_script(_COUNT_HEARTBEATS)
        page.route_web_socket("**/ws/**", beat)
        page.goto("/underwriting/")
        wait_for(page, "heartbeats > 0")
        expect(page.locator("#connection")).to_have_text("")
        expect_lost(page)


class TestHowLongARequestWaits:
    @pytest.mark.parametrize("hours", [26, -26])
    def test_goes_by_the_servers_clock(
        self, page: Page, underwriter: Page, applicant: Page, hours: int
    ) -> None:
        apply(applicant, name := someone())
        expect(row(underwriter, name)).to_have_count(1)
        page.add_init_script(_CLOCK % (hours * HOUR_MS) + _COUNT_HEARTBEATS)
        open_queue(page)
        assert page.evaluate("Math.round((Date.now() - performance.timeOrigin) / 3600000)") == hours
        wait_for(page, "heartbeats > 2")
        expect(row(page, name)).to_contain_text("less than a minute")

    def test_does_not_change_with_the_clock_while_the_page_is_open(
        self, quiet_queue: Page, applicant: Page
    ) -> None:
        apply(applicant, name := someone())
        quiet_queue.evaluate(f"clockAhead += {26 * HOUR_MS}")
        # It takes this for sleep, and looks again.
        wait_for(quiet_queue, "heartbeats > 1")
        expect(row(quiet_queue, name)).to_contain_text("less than a minute")

    def test_goes_on_with_each_heartbeat(self, page: Page, applicant: Page) -> None:
        def three_hours_later(socket: WebSocketRoute) -> None:
            def send(message: str | bytes) -> None:
                assert isinstance(message, str)
                if message.startswith("{"):
                    message = json.dumps({"now": json.loads(message)["now"] + 3 * HOUR_MS})
                socket.send(message)

            socket.connect_to_server().on_message(send)

        apply(applicant, name := someone())
        page.route_web_socket("**/ws/**", three_hours_later)
        open_queue(page)
        expect(row(page, name)).to_contain_text("3 hours")


class TestTheTitle:
    def test_has_the_number_that_waits(self, underwriter: Page, applicant: Page) -> None:
        apply(applicant, name := someone())
        expect(row(underwriter, name)).to_have_count(1)
        waiting = underwriter.locator("#queue-rows tr").count()
        expect(underwriter).to_have_title(f"({waiting}) Requests to decide · lepret")

        apply(applicant, someone())
        expect(underwriter).to_have_title(f"({waiting + 1}) Requests to decide · lepret")
        row(underwriter, name).get_by_role("button", name="Approve", exact=True).click()
        expect(underwriter).to_have_title(f"({waiting}) Requests to decide · lepret")

    def test_has_none_if_none_waits(self, page: Page, applicant: Page) -> None:
        def say_that_none_waits(socket: WebSocketRoute) -> None:
            socket.send('<p id="queue-summary" data-count="0"></p>')

        apply(applicant, someone())
        page.route_web_socket("**/ws/**", say_that_none_waits)
        open_queue(page)
        expect(page).to_have_title("Requests to decide · lepret")


def test_a_status_that_is_sent_again_is_not_shown_again(
    browser: Browser, lively: WebServer
) -> None:
    """Screen readers would read it out again."""
    with page_at(lively.base_url, browser, timezone_id="America/New_York") as page:
        apply(page, someone(), "999999aa")
        expect(status(page)).to_have_text("Approved")
        page.add_init_script(
            "document.addEventListener('DOMContentLoaded', () => {"
            " document.getElementById('loan-status').isAsLoaded = true; });"
        )
        page.reload()
        expect_live(page)
        assert page.evaluate("document.getElementById('loan-status').isAsLoaded") is True


class TestTimes:
    TIME: Final = '<time datetime="2026-11-29T01:33:00+00:00" data-local>as sent</time>'

    @pytest.mark.parametrize(
        ("zone", "written"),
        [
            ("America/New_York", "28 Nov 2026, 20:33 EST"),
            ("Europe/Berlin", "29 Nov 2026, 02:33 CET"),
            ("Europe/London", "29 Nov 2026, 01:33 GMT"),
            ("Asia/Kolkata", "29 Nov 2026, 07:03 GMT+5:30"),
            ("UTC", "29 Nov 2026, 01:33 UTC"),
        ],
    )
    def test_are_in_the_readers_zone(
        self, browser: Browser, lively: WebServer, zone: str, written: str
    ) -> None:
        def plant(route: Route) -> None:
            answer = route.fetch()
            body = answer.text().replace("<h1>", f"{self.TIME}<h1>")
            route.fulfill(response=answer, body=body)

        with page_at(lively.base_url, browser, timezone_id=zone) as page:
            page.route("**/", plant)
            page.goto("/")
            expect(page.locator("time[data-local]")).to_have_text(written)

    def test_are_so_in_what_is_sent_later(self, browser: Browser, lively: WebServer) -> None:
        def send(socket: WebSocketRoute) -> None:
            socket.send(f'<article id="loan-status"><h2>Sent</h2>{self.TIME}</article>')

        def answer(route: Route) -> None:
            route.fulfill(body=f'<form id="apply">{self.TIME}</form>', content_type="text/html")

        with page_at(lively.base_url, browser, timezone_id="America/New_York") as page:
            page.route_web_socket("**/ws/**", send)
            apply(page, someone())
            expect(status(page)).to_have_text("Sent")
            expect(page.locator("time[data-local]")).to_have_text("28 Nov 2026, 20:33 EST")

            page.goto("/")
            page.route("**/", answer)
            page.get_by_role("button", name="Request loan").click()
            expect(page.locator("time[data-local]")).to_have_text("28 Nov 2026, 20:33 EST")
