"""What people do on the pages, in a browser."""

from __future__ import annotations

import re
from collections.abc import Iterator
from uuid import uuid4

import httpx2
from playwright.sync_api import Browser, Locator, Page, expect

from tests.support.api import application
from tests.support.browser import new_page
from tests.support.demo import Demo
from tests.support.processes import PATIENCE, wait_until
from tests.support.web_servers import post

_WAITING = re.compile(
    r'<tr id="request-([^"]+)"[^>]* data-claimed-by="([^"]*)"'
    r'[^>]* data-for="([^"]*)".*?name="shown_revision" value="(\d+)"',
    re.DOTALL,
)
_LEAD = "admin"
# Where a test has stopped the system, nothing can be decided: that is no failure, but costs time.
_SECONDS_TO_DECIDE = 15.0


def page_of(browser: Browser, demo: Demo) -> Iterator[Page]:
    """A page with cookies of its own, on which no script may fail."""
    page = new_page(browser, demo.base_url)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield page
    page.context.close()
    assert errors == [], errors


def live_queue_of(browser: Browser, demo: Demo, session: str) -> Iterator[Page]:
    """A page with the live queue, logged in with this session cookie."""
    for page in page_of(browser, demo):
        page.context.add_cookies([{"name": "sessionid", "value": session, "url": demo.base_url}])
        page.goto("/underwriting/")
        expect_live(page)
        yield page


def sessions_of(demo: Demo) -> dict[str, str]:
    """Session cookies of two underwriters. To log in on each page would take seconds."""
    cookies = {}
    for name in ("underwriter", "admin"):
        with demo.browser(name, name) as browser:
            cookies[name] = browser.cookies["sessionid"]
    return cookies


def decide_what_waits(demo: Demo, session: str) -> None:
    """Leave an empty queue; the session cookie is an administrator's, who leads.

    Each request that a test has left there would be a row of all later tests' pages.
    """
    headers = {"HX-Request": "true"}  # or the next page would show the outcomes
    cookies = {"sessionid": session}
    with httpx2.Client(
        base_url=demo.base_url, cookies=cookies, headers=headers, timeout=PATIENCE, trust_env=False
    ) as lead:

        def is_empty() -> bool:
            try:
                waiting = _WAITING.findall(lead.get("/underwriting/").text)
                for request in waiting:
                    _decide(lead, *request)
            except httpx2.TransportError:  # The test may have killed the web server.
                return False
            return not waiting

        wait_until(is_empty, _SECONDS_TO_DECIDE, what="an empty queue", every=0.2)


def _decide(lead: httpx2.Client, loan: str, holder: str, approvers: str, revision: str) -> None:
    path = f"/underwriting/{loan}"
    if holder not in ("", _LEAD):
        post(lead, f"{path}/hand-over/", to=_LEAD, why="The test has ended.")
    # Where somebody else would approve, a denial would only be proposed.
    if set(approvers.split()) - {_LEAD}:
        post(lead, f"{path}/approve/", shown_revision=revision)
    else:
        post(lead, f"{path}/deny/", reasons="too_much_debt", shown_revision=revision)


def log_in(page: Page, name: str, password: str | None = None) -> None:
    """Send the login form; the password is the name, unless it is given."""
    page.get_by_label("Username").fill(name)
    page.get_by_label("Password").fill(name if password is None else password)
    page.get_by_role("button", name="Log in", exact=True).click()


def log_in_at(page: Page, path: str, name: str) -> None:
    """Open this path, and be there after the login."""
    page.goto(path)
    log_in(page, name)
    expect(page).to_have_url(re.compile(re.escape(path)))


def give_code(page: Page, code: str, button: str) -> None:
    """Send the code of a second factor."""
    page.get_by_role("textbox", name="Code").fill(code)
    page.get_by_role("button", name=button, exact=True).click()


def open_queue(page: Page, name: str) -> None:
    page.goto("/underwriting/")
    log_in(page, name)


def expect_live(page: Page) -> None:
    expect(page.locator("#connection")).to_have_text("Live")


def watch_connection(page: Page) -> None:
    """Record, in the page's `states`, each state of its connection."""
    page.evaluate(
        "window.states = []; new MutationObserver(() => states.push(connection.dataset.state))"
        ".observe(connection, {attributes: true})"
    )


def someone() -> str:
    """A name that no other test uses."""
    return f"Ann {uuid4().hex[:8]}"


def apply(page: Page, name: str, national_id: str = "", amount: str = "5000") -> str:
    """Apply with this national ID or, without one, for a loan that goes to an underwriter.

    Returns the national ID.
    """
    page.goto("/")
    national_id = national_id or _national_id_for_review(page)
    fill_in(page, name, national_id, amount)
    send(page)
    return national_id


def fill_in(page: Page, name: str, national_id: str, amount: str = "5000") -> None:
    page.get_by_label("Name").fill(name)
    page.get_by_label("National ID").fill(national_id)
    page.get_by_label("Amount").fill(amount)


def send(page: Page) -> None:
    page.get_by_role("button", name="Request loan").click()


def _national_id_for_review(page: Page) -> str:
    # The simulated credit bureau's score depends on the form's id.
    body = application(score=5)
    page.locator("#id_id").evaluate("(field, id) => { field.value = id }", body["id"])
    national_id: str = body["national_id"]
    return national_id


def status(page: Page) -> Locator:
    """The status that the page shows."""
    return page.locator("#loan-status h2")


def row(page: Page, name: str) -> Locator:
    """Someone's row in the underwriters' queue."""
    return page.get_by_role("row", name=re.compile(re.escape(name)))


def deny(page: Page, name: str) -> None:
    row(page, name).get_by_role("button", name="Deny", exact=True).click()
    page.get_by_label("Too much debt").check()
    page.get_by_role("button", name="Deny request").click()


def make_user(demo: Demo, *groups: str) -> str:
    """A user in these groups, whose password is the name."""
    name = f"user-{uuid4().hex[:8]}"
    code = (
        "from django.contrib.auth.models import Group, User;"
        f"user = User.objects.create_user({name!r}, password={name!r});"
        f"user.groups.set(Group.objects.filter(name__in={groups!r}))"
    )
    done = demo.manage("shell", "--no-imports", "-c", code)
    assert done.returncode == 0, done.stderr
    return name
