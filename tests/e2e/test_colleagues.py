"""Who else has a request open, as underwriters see it in their browsers."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from uuid import UUID

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from readmodels.live.presence import DECIDING, VIEWING, OpenPage, Presence
from tests.support.api import application
from tests.support.browser import browser_to_kill, kill, new_page
from tests.support.demo import Demo, running_demo
from tests.support.pages import expect_live, log_in_at, row, someone
from tests.support.processes import PATIENCE, wait_until


@pytest.fixture
def name(demo: Demo) -> str:
    """The applicant of a request that waits."""
    name = someone()
    demo.apply(application(score=5, name=name))
    return name


def open_request(page: Page, name: str) -> Page:
    row(page, name).get_by_role("link", name=name).click()
    expect_live(page)
    return page


def presence_on(page: Page) -> Locator:
    return page.locator(".request .presence")


def request_id(page: Page) -> UUID:
    return UUID(page.url.rstrip("/").rsplit("/", 1)[1])


def test_a_colleague_is_seen_on_the_page_and_in_the_queue_until_the_browser_is_killed(
    browser: Browser, demo: Demo, underwriter: Page, name: str
) -> None:
    queue = underwriter.context.new_page()
    queue.goto("/underwriting/")
    expect_live(queue)
    open_request(underwriter, name)
    with browser_to_kill(browser) as (other, processes):
        theirs = new_page(other, demo.base_url)
        log_in_at(theirs, "/underwriting/", "colleague")
        expect(presence_on(underwriter)).to_be_hidden()
        open_request(theirs, name)

        expect(presence_on(underwriter)).to_have_text("colleague is looking")
        expect(row(queue, name).locator(".presence")).to_have_text("colleague looks")
        expect(presence_on(theirs)).to_have_text("underwriter is looking")

        theirs.get_by_label("Note on an approval").fill("I know them.")
        expect(presence_on(underwriter)).to_have_text("colleague is deciding")
        theirs.get_by_label("Note on an approval").fill("")
        expect(presence_on(underwriter)).to_have_text("colleague is looking")
        theirs.get_by_role("button", name="Deny", exact=True).click()
        expect(presence_on(underwriter)).to_have_text("colleague is deciding")

        kill(processes)
        expect(presence_on(underwriter)).to_be_hidden()
        expect(row(queue, name).locator(".presence")).to_be_hidden()


def test_of_two_pages_of_a_colleague_one_may_be_closed_and_one_connect_again(
    demo: Demo, underwriter: Page, colleague: Page, name: str
) -> None:
    open_request(underwriter, name)
    open_request(colleague, name)
    second = colleague.context.new_page()
    second.goto(colleague.url)
    expect_live(second)
    second.get_by_label("Note on an approval").fill("I know them.")
    expect(presence_on(underwriter)).to_have_text("admin is deciding")
    second.evaluate("giveUp()")
    expect(second.locator("#connection")).to_have_attribute("data-state", "lost")
    expect_live(second)
    expect(presence_on(underwriter)).to_have_text("admin is deciding")
    second.close()
    expect(presence_on(underwriter)).to_have_text("admin is looking")
    expect(presence_on(colleague)).to_have_text("underwriter is looking")


def test_fifty_colleagues_are_one_line(demo: Demo, underwriter: Page, name: str) -> None:
    open_request(underwriter, name)
    presence, number = Presence(demo.published["REDIS_URL"]), request_id(underwriter)
    people = [OpenPage(number, f"user-{each:02}") for each in range(50)]
    for each in people:
        presence.stay(each, VIEWING, seconds=PATIENCE)
    expect(presence_on(underwriter)).to_have_text(
        "user-00, user-01, user-02 and 47 others are looking"
    )
    for each in people[40:42]:
        presence.stay(each, DECIDING, seconds=PATIENCE)
    expect(presence_on(underwriter)).to_have_text(
        "user-40 and user-41 are deciding; user-00 and 47 others are looking"
    )
    for each in people:
        presence.leave(each)
    expect(presence_on(underwriter)).to_be_hidden()


def test_without_valkey_nobody_is_seen_and_pages_and_decisions_work(
    browser: Browser, tmp_path: Path
) -> None:
    name = someone()
    with running_demo(tmp_path / "data") as demo:
        demo.apply(application(score=5, name=name))
        page = new_page(browser, demo.base_url)
        log_in_at(page, "/underwriting/", "underwriter")
        open_request(page, name)
        valkey = demo.pid_of("valkey")
        assert valkey is not None
        # Frozen, not killed: the demo would start it again.
        os.kill(valkey, signal.SIGSTOP)
        try:
            page.goto(page.url)
            expect(page.get_by_role("heading", level=1)).to_contain_text(name)
            expect(presence_on(page)).to_be_hidden()
            page.get_by_role("button", name="Approve").click()
            expect(page.locator("#notices")).to_contain_text(f"Approved: {name}.")
        finally:
            os.kill(valkey, signal.SIGCONT)
        wait_until(demo.is_ready)
        page.context.close()
