"""Apply, decide and look up with the keyboard alone, and the focus seen all the way."""

from __future__ import annotations

import re
from typing import Final

from playwright.sync_api import Page, expect

from tests.support.keyboard import Keyboard
from tests.support.pages import apply, expect_live, row, someone, status

# Of which one person decides.
_ROWS: Final = "#queue-rows tr:not([data-above-limit])"


def log_in(keyboard: Keyboard, page: Page, name: str) -> None:
    keyboard.type_into(page.get_by_label("Username"), name)
    keyboard.type_into(page.get_by_label("Password"), name)
    page.keyboard.press("Enter")


def test_an_applicant(page: Page) -> None:
    name = someone()
    keyboard = Keyboard(page)
    page.goto("/")
    keyboard.type_into(page.get_by_label("Name"), name)
    keyboard.type_into(page.get_by_label("National ID"), "999999aa")
    keyboard.type_into(page.get_by_label("Amount"), "a lot")
    keyboard.press(page.get_by_role("button", name="Request loan"))
    # What is wrong has the focus.
    expect(page.get_by_label("Amount")).to_be_focused()
    page.keyboard.press("ControlOrMeta+A")
    page.keyboard.type("5000")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("/loans/"))
    expect(status(page)).to_have_text("Approved")


def test_the_first_stop_skips_to_the_content(page: Page) -> None:
    page.goto("/")
    keyboard = Keyboard(page)
    keyboard.tab_to(page.get_by_role("link", name=re.compile("^Skip to")), most=1)
    page.keyboard.press("Enter")
    # The next stop is the first in the content.
    keyboard.tab_to(page.locator("#main").get_by_label("Name"), most=1)


def test_an_underwriter(page: Page, other_page: Page) -> None:
    applicants = (someone(), someone())
    for name in applicants:
        apply(other_page.context.new_page(), name)
    keyboard = Keyboard(page)
    page.goto("/underwriting/")
    log_in(keyboard, page, "underwriter")
    expect_live(page)
    for name in applicants:
        expect(row(page, name)).to_be_visible()
    # Others may wait for longer; names need not be unique.
    first, second = (f"#{each.get_attribute('id')}" for each in page.locator(_ROWS).all()[:2])
    approved = page.locator(first).get_by_role("rowheader").get_by_role("link").inner_text()
    denied = page.locator(second).get_by_role("rowheader").get_by_role("link").inner_text()

    keyboard.press(page.locator(first).get_by_role("button", name="Approve"))
    expect(page.get_by_text(f"Approved: {approved}.").first).to_be_visible()

    deny = page.locator(second).get_by_role("button", name="Deny")
    keyboard.press(deny)
    dialog = page.get_by_role("dialog")
    expect(dialog).to_be_visible()
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(deny).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("checkbox").first).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    keyboard.press(dialog.get_by_role("button", name="Deny request"))
    expect(page.get_by_text(f"Denied: {denied}.").first).to_be_visible()
    expect(dialog).to_be_hidden()


def test_a_clerk(page: Page, other_page: Page) -> None:
    name = someone()
    apply(other_page, name)
    expect(status(other_page)).to_have_text("Under review")
    keyboard = Keyboard(page)
    page.goto("/admin/")
    log_in(keyboard, page, "clerk")
    keyboard.press(page.get_by_role("link", name="Loan requests", exact=True).last)
    keyboard.type_into(page.locator("#searchbar"), name)
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("q="))
    keyboard.press(page.get_by_role("link", name=name))
    for event in ("LoanRequested", "CreditChecked", "ManualReviewRequired"):
        expect(page.get_by_role("cell", name=event, exact=True)).to_be_visible()
