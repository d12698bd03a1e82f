"""Walks through the site's pages in a browser, for tests that look at all of them.

A walk stops at each page, and at each state of a page, and gives its name. A new address is walked
by itself; what else people meet on a new page belongs in one of `WALKS`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any, Final
from uuid import UUID, uuid4

from playwright.sync_api import Page, expect

from tests.support.addresses import addresses, filled_in
from tests.support.api import application
from tests.support.demo import SECONDS_TO_START, Demo
from tests.support.pages import (
    apply,
    deny,
    expect_live,
    give_code,
    log_in,
    log_in_at,
    make_user,
    row,
    someone,
    status,
)
from tests.support.processes import wait_until
from tests.support.second_factors import Phone
from tests.support.web_servers import running_daphne

Walk = Callable[[Page, Demo], Iterator[str]]

_LOG_OUT: Final = "/admin/logout/"


def paths(demo: Demo) -> list[str]:
    """A path of each address, with the ids of rows that an administrator's lists show."""
    loan = demo.apply(application(score=5))["id"]
    with demo.browser("admin", "admin") as admin:

        @cache
        def first_id(model: str) -> str:
            link = re.search(rf"/{model}/([^/]+)/change/", admin.get(f"/admin/{model}/").text)
            return link[1] if link else str(uuid4())

        def path_of(address: str) -> str:
            model = re.match(r"/admin/(\w+/\w+)/<", address)

            def value_of(name: str) -> Any:
                if name in ("object_id", "id") and model and not address.startswith("/admin/r/"):
                    return first_id(model[1])
                others = {
                    "app_label": "readmodels",
                    "url": "nowhere",
                    "content_type_id": 1,
                    "number": 1,
                }
                return others.get(name, loan)

            return filled_in(address, value_of)

        return [path_of(address) for address in addresses() if address != _LOG_OUT]


def by_an_applicant(page: Page, demo: Demo) -> Iterator[str]:
    apply(page, someone(), national_id="12", amount="1e3")
    expect(page.locator("#id_amount_error")).to_contain_text("whole number")
    yield "an application with errors"
    page.get_by_label("National ID").press_sequentially("3")
    page.get_by_label("Amount").fill("5000")
    page.get_by_label("Amount").blur()
    expect(page.locator("#id_amount_error")).to_be_empty()


def on_a_status_page(page: Page, demo: Demo) -> Iterator[str]:
    outcomes = {"999999aa": "Approved", "111111aa": "Denied", "": "Under review"}
    for national_id, outcome in outcomes.items():
        apply(page, someone(), national_id)
        expect(status(page)).to_have_text(outcome)
        expect_live(page)
        yield outcome


def by_an_underwriter(page: Page, demo: Demo) -> Iterator[str]:
    denied, approved = someone(), someone()
    for name in (denied, approved):
        apply(page.context.new_page(), name)
    log_in_at(page, "/underwriting/", "underwriter")
    expect_live(page)
    expect(row(page, approved)).to_be_visible()
    yield "the queue"
    row(page, denied).get_by_role("button", name="Deny", exact=True).click()
    expect(page.get_by_role("dialog")).to_be_visible()
    yield "the dialog"
    page.get_by_role("button", name="Deny request").click()
    expect(page.get_by_role("alert").filter(has_text="Choose one to four reasons")).to_be_visible()
    yield "the dialog with an error"
    page.get_by_label("Another reason").check()
    expect(page.get_by_label("What the applicant is told of it")).to_be_visible()
    yield "the dialog with a reason in own words"
    wait_until(lambda: _escapes_from_the_dialog(page))
    deny(page, denied)
    expect(page.locator("#notices")).to_contain_text(f"Denied: {denied}.")
    row(page, approved).get_by_role("button", name="Approve", exact=True).click()
    expect(page.locator("#notices")).to_contain_text(f"Approved: {approved}.")
    yield "the queue with notices"
    other = page.context.new_page()
    other.goto("/underwriting/")
    other.get_by_role("button", name="Log out").click()
    expect(other.get_by_role("heading", name="Staff login")).to_be_visible()
    expect(page.get_by_role("heading", name="This page has ended")).to_be_visible()
    yield "the queue after a logout in another tab"


def on_the_page_of_one_request(page: Page, demo: Demo) -> Iterator[str]:
    name = someone()
    apply(page.context.new_page(), name)
    log_in_at(page, "/underwriting/", "underwriter")
    page.get_by_role("link", name=name).click()
    expect_live(page)
    yield "a request to decide"
    page.get_by_role("button", name="Add note").click()
    expect(page.locator("#note-text-error")).to_have_text("This field is required.")
    yield "a note that was refused"
    page.get_by_label("Add a note").fill("Called, <b>no</b> answer.")
    page.get_by_role("button", name="Add note").click()
    expect(page.locator(".notes")).to_contain_text("<b>no</b>")
    yield "a note"
    page.get_by_role("button", name="Approve").click()
    expect(page.locator("#request-standing")).to_contain_text("Approved")
    expect(page.get_by_role("button", name="Approve")).to_be_hidden()
    yield "a request that is decided"


def _escapes_from_the_dialog(page: Page) -> bool:
    page.keyboard.press("Escape")
    return page.get_by_role("dialog").is_hidden()


def with_an_empty_queue(page: Page, demo: Demo) -> Iterator[str]:
    log_in_at(page, "/underwriting/", "underwriter")
    # What takes two people to approve takes one to deny. Who is for it and then against it is one.
    decide_all = """async () => {
      const headers = JSON.parse(document.querySelector("[hx-headers]").getAttribute("hx-headers"));
      const send = ({formAction, name, value}) => {
        const body = new URLSearchParams({[name]: value, reasons: "too_much_debt"});
        return fetch(formAction, {method: "POST", headers, body});
      };
      const buttons = (selector) => [...document.querySelectorAll(`#queue-rows ${selector}`)];
      await Promise.all(buttons("[method=post] > .approve").map(send));
      await Promise.all(buttons(".deny").map(send));
    }"""
    rows = page.locator("#queue-rows tr")

    def is_empty() -> bool:
        page.evaluate(decide_all)
        page.reload()
        return rows.count() == 0

    wait_until(is_empty)
    yield "an empty queue"


def by_a_policy_maker(page: Page, demo: Demo) -> Iterator[str]:
    demo.apply(application(score=5))
    log_in_at(page, "/admin/policy/propose/", "policy")
    propose = page.get_by_role("button", name="Propose")
    propose.click()
    expect(page.get_by_role("alert")).to_be_visible()
    yield "a proposal with errors"
    page.get_by_label("Why").fill("To see what it would do.")
    propose.click()
    expect(page.get_by_text("somebody else must confirm it")).to_be_visible()
    yield "a version that waits"
    version = page.url
    page.goto("/admin/policy/")
    yield "the policy with a version that waits"
    page.goto(version)
    page.get_by_role("link", name="would have done").click()
    page.get_by_role("button", name="Start").click()
    expect(page.get_by_role("heading", name="Outcomes")).to_be_visible(
        timeout=SECONDS_TO_START * 1000
    )
    yield "a simulation"
    page.goto(version)
    page.get_by_role("button", name="Withdraw").click()
    expect(page.get_by_text("State: withdrawn")).to_be_visible()
    yield "a version that was withdrawn"


def with_an_account(page: Page, demo: Demo) -> Iterator[str]:
    name = make_user(demo)
    page.goto("/accounts/home/")
    log_in(page, "wrong")
    expect(page.get_by_role("alert").first).to_be_visible()
    yield "a login that was refused"
    log_in(page, name)
    expect(page.get_by_role("heading", name="No role yet")).to_be_visible()
    yield "the page of an account without a role"
    with demo.browser(name, name):
        page.goto("/accounts/sessions/")
        expect(page.get_by_role("button", name="End all others")).to_be_visible()
        yield "a session elsewhere"
    page.get_by_role("link", name="Account").click()
    page.get_by_role("link", name="Second factor").click()
    page.get_by_label("Current password").fill(name)
    phone = Phone(page.locator("#secret").inner_text())
    yield "a second factor to set up"
    give_code(page, phone.code(), "Set up")
    expect(page.locator(".recovery-codes code")).to_have_count(10)
    yield "recovery codes"
    recovery_code = page.locator(".recovery-codes code").first.inner_text()
    page.get_by_role("button", name="I have kept them").click()
    page.get_by_role("button", name="Log out").last.click()
    log_in(page, name)
    yield "the second step"
    for code in (phone.wrong_code(), recovery_code):
        give_code(page, code, "Log in")
    expect(page.get_by_role("heading", name="No role yet")).to_be_visible()
    page.goto("/accounts/sessions/")
    yield "the sessions with a second factor"
    page.goto("/accounts/second-factor/")
    expect(page.get_by_text("You have 9 recovery codes left")).to_be_visible()
    yield "a second factor"
    _change_password(page, name)
    expect(page.locator("#id_new_password1_error")).to_contain_text("current password")
    yield "a password that was refused"
    _change_password(page, name, keeps_cookies=False)
    expect(page.get_by_role("heading", name="Please send it again")).to_be_visible()
    yield "a form that is not known to be ours"


def _change_password(page: Page, password: str, *, keeps_cookies: bool = True) -> None:
    """Send the form with the current password as the new one."""
    page.goto("/accounts/password/")
    for label in ("Current password", "New password", "New password again"):
        page.get_by_label(label, exact=True).fill(password)
    if not keeps_cookies:
        page.context.clear_cookies(name="csrftoken")
    page.get_by_role("button", name="Change password").click()


def until_passwords_are_tried_no_more(page: Page, demo: Demo) -> Iterator[str]:
    name = make_user(demo)
    page.goto("/accounts/login/")
    locked_out = page.get_by_role("heading", name="Too many attempts")
    for _ in range(11):
        page.get_by_label("Username").fill(name)
        page.get_by_label("Password").fill("wrong")
        with page.expect_navigation():
            page.get_by_role("button", name="Log in").click()
        if locked_out.is_visible():
            break
    expect(locked_out).to_be_visible()
    yield "too many attempts"
    assert demo.manage("unlock", "--address", "127.0.0.1").returncode == 0


def in_the_back_office(page: Page, demo: Demo) -> Iterator[str]:
    demo.apply(application(score=9))
    rows = "/admin/readmodels/loanrequest/"
    log_in_at(page, rows, "admin")
    page.goto(f"{rows}?q=Ann&status__exact=approved&o=-2")
    page.locator("#action-toggle").check()
    yield "a filtered list with selected rows"
    page.get_by_label("Action:").select_option("export_as_csv")
    with page.expect_download() as download:
        page.get_by_role("button", name="Run").or_(page.get_by_role("button", name="Go")).click()
    assert download.value.suggested_filename == "loanrequest.csv"
    page.goto(f"{rows}?q=nobody+has+this+name")
    yield "a list without rows"
    page.goto("/admin/auth/user/?q=clerk")
    page.locator("#action-toggle").check()
    page.get_by_label("Action:").select_option("end_sessions")
    page.get_by_role("button", name=re.compile("Go|Run")).click()
    expect(page.locator(".success")).to_be_visible()
    yield "a list with a message"
    page.goto("/admin/auth/user/add/")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.locator(".errornote")).to_be_visible()
    yield "a form with errors"
    page.goto("/admin/password_change/")
    for name in ("old_password", "new_password1", "new_password2"):
        page.locator(f"#id_{name}").fill("not that one")
    page.get_by_role("button", name="Change password").click()
    expect(page.locator("#id_old_password_error")).not_to_be_empty()
    page.goto("/admin/")
    page.locator(".theme-toggle").first.click()
    page.locator("#logout-form button").click()
    expect(
        page.get_by_text("Logged out").or_(page.get_by_text("Staff login")).first
    ).to_be_visible()


def in_the_apis_documentation(page: Page, demo: Demo) -> Iterator[str]:
    page.goto("/api/docs")
    operation = page.locator("#operations-Loan_requests-get_loan_request")
    operation.locator(".opblock-summary-control").click(no_wait_after=True)
    operation.get_by_role("button", name="Try it out").click()
    operation.locator("tr[data-param-name=id] input").fill(str(UUID(int=5)))
    operation.get_by_role("button", name="Execute").click()
    expect(operation.locator(".live-responses-table")).to_contain_text("404")
    yield "an answer in the API's documentation"


def to_pages_that_are_not_there(page: Page, demo: Demo) -> Iterator[str]:
    for path in ("/nowhere", "/api/nowhere", f"/loans/{UUID(int=5)}/"):
        answer = page.goto(path)
        assert answer is not None
        assert answer.status == 404
        yield path


def to_a_page_for_others(page: Page, demo: Demo) -> Iterator[str]:
    log_in_at(page, "/admin/", "clerk")
    page.goto("/underwriting/")
    expect(page.get_by_role("heading", name="Not for you")).to_be_visible()
    yield "a page for others"


def to_a_host_that_is_not_ours(page: Page, demo: Demo) -> Iterator[str]:
    # Browsers take all names under localhost for this machine.
    page.goto(f"http://elsewhere.localhost:{demo.port}/")
    expect(page.get_by_role("heading", name="That did not work")).to_be_visible()
    yield "a host that is not ours"


def to_where_a_database_is_away(page: Page, demo: Demo) -> Iterator[str]:
    no_database = {"DATABASE_URL": "sqlite:////nowhere/lepret.sqlite3"}
    with running_daphne({**demo.environment, **demo.published, **no_database}) as web:
        wait_until(web.is_alive, SECONDS_TO_START)
        page.goto(f"{web.base_url}/loans/{uuid4()}/")
        expect(page.get_by_role("heading", name="Not available at the moment")).to_be_visible()
        yield "a page whose database is away"


WALKS: Final[Mapping[str, Walk]] = {
    walk.__name__: walk
    for walk in (
        by_an_applicant,
        on_a_status_page,
        by_an_underwriter,
        on_the_page_of_one_request,
        with_an_empty_queue,
        with_an_account,
        until_passwords_are_tried_no_more,
        in_the_back_office,
        by_a_policy_maker,
        in_the_apis_documentation,
        to_pages_that_are_not_there,
        to_a_page_for_others,
        to_a_host_that_is_not_ours,
        to_where_a_database_is_away,
    )
}
