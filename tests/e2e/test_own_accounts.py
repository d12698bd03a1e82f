"""What members of staff do with their own accounts, in a browser."""

from __future__ import annotations

import re

from playwright.sync_api import Browser, Page, expect

from lepret.staff.roles import UNDERWRITERS
from tests.support.browser import new_page
from tests.support.demo import Demo
from tests.support.pages import expect_live, log_in, make_user, open_queue, someone

PHONE_WIDTH = 360


def add_user(admin: Page, name: str, password: str) -> None:
    """Have an administrator make an underwriter."""
    admin.goto("/admin/auth/user/add/")
    log_in(admin, "admin")
    admin.get_by_label(re.compile(r"^\s*Underwriters")).check()
    admin.get_by_label("Username").fill(name)
    admin.get_by_label("Password:", exact=True).fill(password)
    admin.get_by_label("Password confirmation:").fill(password)
    admin.get_by_role("button", name="Save", exact=True).click()
    expect(admin.locator(".success")).to_be_visible()


def test_a_new_underwriter_chooses_a_password_and_an_administrator_logs_her_out(
    page: Page, other_page: Page, demo: Demo
) -> None:
    name, given, own = someone().replace(" ", "-"), "river orbit kettle", "pale lantern walrus"
    add_user(other_page, name, given)

    page.goto("/underwriting/")
    log_in(page, name, given)
    expect(page.get_by_role("heading", name="Choose your password")).to_be_visible()
    page.goto("/underwriting/")
    expect(page.get_by_role("heading", name="Choose your password")).to_be_visible()
    page.get_by_label("Current password").fill(given)
    for label in ("New password", "New password again"):
        page.get_by_label(label, exact=True).fill(own)
    page.get_by_role("button", name="Change password").click()
    page.get_by_role("link", name="Back to your work").click()
    expect_live(page)

    other_page.goto(f"/admin/auth/user/?q={name}")
    other_page.locator("#action-toggle").check()
    other_page.get_by_label("Action:").select_option("end_sessions")
    other_page.get_by_role("button", name=re.compile("Go|Run")).click()
    expect(other_page.locator(".success")).to_contain_text("Logged out")
    expect(page.locator("#main")).to_contain_text("your session was ended elsewhere")


def test_a_session_is_ended_from_another_browser(page: Page, other_page: Page, demo: Demo) -> None:
    name = make_user(demo, UNDERWRITERS)
    open_queue(page, name)
    expect_live(page)
    open_queue(other_page, name)
    other_page.get_by_role("link", name="Account").click()
    other_page.get_by_role("link", name="Sessions").click()
    other_page.get_by_label("Current password").fill("wrong")
    other_page.get_by_role("button", name="End all others").click()
    expect(other_page.get_by_text("This is not your password")).to_be_visible()
    expect_live(page)
    other_page.get_by_label("Current password").fill(name)
    other_page.get_by_role("button", name="End all others").click()
    expect(other_page.get_by_text("You are logged in nowhere else")).to_be_visible()
    expect(page.locator("#main")).to_contain_text("your session was ended elsewhere")


def test_no_page_is_wider_than_a_phone(browser: Browser, demo: Demo) -> None:
    page = new_page(browser, demo.base_url)
    page.set_viewport_size({"width": PHONE_WIDTH, "height": 740})
    open_queue(page, "admin")
    for path in ("/underwriting/", "/accounts/", "/accounts/sessions/", "/accounts/password/"):
        page.goto(path)
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE_WIDTH, path
        expect(page.get_by_role("button", name="Log out admin")).to_be_in_viewport()
    page.context.close()
