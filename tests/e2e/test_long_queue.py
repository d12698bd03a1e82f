"""A queue of more rows than a page is loaded with."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from readmodels.pages.queue_page import FIRST_ROWS
from tests.support.api import application
from tests.support.demo import Demo
from tests.support.pages import expect_live, someone

ROWS = "#queue-rows > tr"


@pytest.fixture
def names(demo: Demo, underwriter: Page) -> list[str]:
    """Of requests that wait, as many as make the list long, in the order in which they are due."""
    names = [someone() for _ in range(FIRST_ROWS + 3)]
    for name in names:
        demo.apply(application(score=5, name=name))
    expect(underwriter.locator(ROWS).filter(has_text=names[-1])).to_have_count(1)
    return names


def names_in(page: Page) -> list[str]:
    return page.locator(f"{ROWS} > th > a").all_text_contents()


def test_is_loaded_with_its_first_rows_and_all_of_it_is_there_in_a_moment(
    underwriter: Page, unscripted: Page, names: list[str]
) -> None:
    unscripted.goto("/underwriting/?from=1")
    expect(unscripted.locator(ROWS)).to_have_count(FIRST_ROWS)
    unscripted.get_by_role("link", name="List all").click()
    unscripted.wait_for_url("**/underwriting/?*all=1*")
    assert names_in(unscripted)[-len(names) :] == names

    underwriter.goto("/underwriting/?from=1")
    expect_live(underwriter)
    expect(underwriter.locator("#queue-rest")).to_have_count(0)
    expect(underwriter.locator(f"{ROWS}[aria-disabled]")).to_have_count(0)
    assert names_in(underwriter)[-len(names) :] == names
    count = underwriter.locator(ROWS).count()
    expect(underwriter.locator("#filter-count")).to_have_text(f"{count} of {count} shown.")
    last = underwriter.locator(ROWS).last
    last.get_by_role("button", name="Claim", exact=True).click()
    expect(last.locator(".holder")).to_contain_text("You")
