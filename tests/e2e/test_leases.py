"""What becomes of a claim whose holder's browser has died."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support.api import application
from tests.support.browser import browser_to_kill, kill, new_page
from tests.support.demo import Demo, decide_at_once, running_demo
from tests.support.pages import expect_live, log_in_at, row, sessions_of, someone


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """One whose claims last for seconds."""
    with running_demo(tmp_path_factory.mktemp("demo") / "data") as demo:
        decide_at_once(demo, lease="PT8S")
        yield demo


@pytest.fixture(scope="module")
def sessions(demo: Demo) -> dict[str, str]:
    return sessions_of(demo)


def test_it_is_held_while_the_page_is_used_and_free_once_the_browser_is_dead(
    browser: Browser, demo: Demo, underwriter: Page
) -> None:
    name = someone()
    demo.apply(application(score=5, name=name))
    theirs = row(underwriter, name)
    expect(theirs).to_have_count(1)
    with browser_to_kill(browser) as (other, processes):
        page = new_page(other, demo.base_url)
        log_in_at(page, "/underwriting/", "colleague")
        row(page, name).get_by_role("link", name=name).click()
        expect_live(page)
        page.get_by_role("button", name="Claim", exact=True).click()
        for _ in range(2):
            until = theirs.get_attribute("data-claimed-until")
            page.mouse.move(10, 10)
            expect(theirs).not_to_have_attribute("data-claimed-until", until or "")
            expect(theirs.locator(".holder")).to_contain_text("colleague")
            expect(theirs.get_by_role("button", name="Approve", exact=True)).to_be_hidden()
        kill(processes)
        theirs.get_by_role("button", name="Claim", exact=True).click()
        expect(theirs.locator(".holder")).to_contain_text("You")
