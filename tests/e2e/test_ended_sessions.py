"""What an underwriter's open page does when its session ends: names go, and it says why."""

from __future__ import annotations

import time

import pytest
from playwright.sync_api import Browser, Page, WebSocketRoute, expect

from tests.support.browser import running_browser_with_back_forward_cache
from tests.support.demo import Demo
from tests.support.pages import apply, expect_live, log_in, open_queue, page_of, row, someone

# From the end of a session to the end of what its pages show.
MOST_SECONDS = 10.0

_CHANGE_SESSIONS = """
from lepret.staff.session_store import SessionStore, StaffSession
for row in StaffSession.objects.filter(user_id=user.pk):
    session = SessionStore(row.session_key)
    {change}
"""
_SET_SESSIONS = _CHANGE_SESSIONS.format(change="session[{key!r}] = 0; session.save()")

# Each with what is said then. The code has `user`.
ENDS = {
    "password": ("user.set_password('another'); user.save()", "your password was changed"),
    "switched off": ("user.is_active = False; user.save()", "your account was switched off"),
    "deleted": ("user.delete()", "your account was switched off"),
    "group": ("user.groups.clear()", "may not decide on loan requests"),
    "logged out": (_CHANGE_SESSIONS.format(change="session.delete()"), "was ended elsewhere"),
    "idle": (_SET_SESSIONS.format(key="last_seen_at"), "nothing was done here for a while"),
    "expired": (_SET_SESSIONS.format(key="logged_in_at"), "for as long as a session may last"),
}
ends = pytest.mark.parametrize(("change", "words"), ENDS.values(), ids=ENDS)


class Account:
    """An underwriter whose password is the name."""

    def __init__(self, demo: Demo, name: str) -> None:
        self.name = name
        self._demo = demo
        self._run(
            f"user = User.objects.create_user({name!r}, password={name!r})\n"
            "user.groups.add(Group.objects.get(name='Underwriters'))"
        )

    def happen(self, change: str) -> float:
        """Have something happen to the account. Returns when, on `time.time`'s clock, at last."""
        code = f"user = User.objects.get(username={self.name!r})\n{change}\n"
        return float(self._run(f"{code}\nimport time; print(time.time())").split()[-1])

    def _run(self, code: str) -> str:
        code = f"from django.contrib.auth.models import Group, User\n{code}"
        done = self._demo.manage("shell", "--no-imports", "-c", code)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture
def account(demo: Demo) -> Account:
    return Account(demo, someone().replace(" ", "-").lower())


def main(page: Page) -> str:
    return page.locator("#main").inner_text()


def show_a_request(applicant: Page, page: Page, account: Account) -> str:
    """An applicant's name, which the underwriter's page shows."""
    name = someone()
    apply(applicant, name)
    open_queue(page, account.name)
    expect(row(page, name)).to_have_count(1)
    expect_live(page)
    return name


@ends
def test_names_go_within_ten_seconds_and_the_page_says_why(
    applicant: Page, page: Page, account: Account, change: str, words: str
) -> None:
    name = show_a_request(applicant, page, account)
    row(page, name).get_by_role("button", name="Deny", exact=True).click()
    expect(page.get_by_role("dialog")).to_contain_text(name)

    at = account.happen(change)

    expect(page.locator("#main")).to_contain_text(words)
    assert time.time() - at < MOST_SECONDS
    assert name not in page.content()
    assert name not in page.title()
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(page.get_by_role("link", name="Log in")).to_have_attribute("href", "/underwriting/")
    # There is nothing to log out of, unless only the role is gone.
    log_out = page.get_by_role("button", name="Log out")
    expect(log_out).to_have_count(1 if "may not decide" in words else 0)
    # It does not come back by itself.
    assert page.locator("#connection").count() == 0


@ends
@pytest.mark.parametrize("button", ["Approve", "Deny"])
def test_a_click_before_that_says_that_nothing_was_recorded(
    applicant: Page, page: Page, account: Account, change: str, words: str, button: str
) -> None:
    def cut_off(socket: WebSocketRoute) -> None:
        socket.close()

    page.route_web_socket("**/ws/**", cut_off)
    name = someone()
    apply(applicant, name)
    open_queue(page, account.name)
    expect(row(page, name)).to_have_count(1)
    account.happen(change)

    row(page, name).get_by_role("button", name=button, exact=True).click()

    expect(page.locator("#main")).to_contain_text(words)
    assert ("Nothing was recorded." in main(page)) == (button == "Approve")
    assert "may have been" not in main(page)
    assert name not in page.content()


def test_logging_out_in_another_tab_ends_the_page(
    applicant: Page, page: Page, account: Account
) -> None:
    name = show_a_request(applicant, page, account)
    other = page.context.new_page()
    other.goto("/underwriting/")
    other.get_by_role("button", name="Log out").click()
    at = time.time()
    expect(page.locator("#main")).to_contain_text("was ended elsewhere")
    assert time.time() - at < MOST_SECONDS
    assert name not in page.content()

    # Login leads back to the page.
    page.get_by_role("link", name="Log in").click()
    log_in(page, account.name)
    expect(row(page, name)).to_have_count(1)
    expect_live(page)


def test_somebody_elses_login_in_the_same_browser_ends_the_page(
    applicant: Page, page: Page, account: Account
) -> None:
    name = show_a_request(applicant, page, account)
    other = page.context.new_page()
    other.goto("/underwriting/")
    other.get_by_role("button", name="Log out").click()
    log_in(other, "admin")
    expect(page.locator("#main")).to_contain_text("This page has ended")
    assert name not in page.content()


def test_going_back_after_the_end_shows_no_names(
    browser: Browser, demo: Demo, applicant: Page, account: Account
) -> None:
    with running_browser_with_back_forward_cache(beside=browser) as other:
        for page in page_of(other, demo):
            name = show_a_request(applicant, page, account)
            page.goto("/")
            account.happen("user.set_password('another'); user.save()")
            page.evaluate("history.back()")
            expect(page.get_by_label("Username")).to_be_visible()
            assert name not in page.content()
