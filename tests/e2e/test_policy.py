"""The content security policy in a browser: no page breaks it, whatever is done there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID, uuid4

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Route, expect

from tests.support.addresses import addresses, filled_in
from tests.support.api import application
from tests.support.browser import PATIENCE_MS
from tests.support.demo import SECONDS_TO_START, Demo
from tests.support.loans import ZOE
from tests.support.pages import apply, deny, expect_live, log_in, row, send, someone, status
from tests.support.processes import wait_until
from tests.support.second_factors import Phone
from tests.support.web_servers import running_daphne

_TELL: Final = """
document.addEventListener("securitypolicyviolation", (event) =>
  tellViolation(`${event.effectiveDirective} at ${document.URL}: ${event.blockedURI}`));
"""
_LOG_OUT: Final = "/admin/logout/"


@dataclass
class Watched:
    """A browser of one person's, and what its pages have done against the policy."""

    context: BrowserContext
    complaints: list[str] = field(default_factory=list)

    def page(self) -> Page:
        page = self.context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.on("pageerror", lambda error: self.complaints.append(f"{page.url}: {error}"))
        page.on("console", lambda message: self._note(f"{page.url}: {message.text}"))
        return page

    def _note(self, message: str) -> None:
        if re.search(r"polic(y|ies)", message, re.IGNORECASE):
            self.complaints.append(message)


def watched_browser(browser: Browser, demo: Demo) -> Iterator[Watched]:
    watched = Watched(browser.new_context(base_url=demo.base_url))
    watched.context.expose_binding(
        "tellViolation", lambda _, words: watched.complaints.append(words)
    )
    watched.context.add_init_script(_TELL)
    yield watched
    watched.context.close()


@pytest.fixture
def watched(browser: Browser, demo: Demo) -> Iterator[Watched]:
    """Somebody's browser, in which nothing may be done against the policy."""
    for watched in watched_browser(browser, demo):
        yield watched
        assert watched.complaints == []


@pytest.fixture
def unwatched(browser: Browser, demo: Demo) -> Iterator[Watched]:
    """One in which it may."""
    yield from watched_browser(browser, demo)


def log_in_at(page: Page, path: str, name: str) -> None:
    page.goto(path)
    log_in(page, name)
    expect(page).to_have_url(re.compile(re.escape(path)))


def make_user(demo: Demo) -> str:
    """A user without a role, whose password is the name."""
    name = f"user-{uuid4().hex[:8]}"
    make = f"User.objects.create_user({name!r}, password={name!r})"
    code = f"from django.contrib.auth.models import User; {make}"
    done = demo.manage("shell", "--no-imports", "-c", code)
    assert done.returncode == 0, done.stderr
    return name


def first_id(page: Page, model: str) -> str:
    """The id of the first row of a model's list in the back office; of none: one that is not."""
    page.goto(f"/admin/{model}/")
    links = page.locator("#result_list tbody a")
    if links.count() == 0:
        return str(uuid4())
    link = re.search(rf"/{model}/(.+)/change/", str(links.first.get_attribute("href")))
    return link[1] if link else str(uuid4())


class TestEveryPage:
    def test_that_a_superuser_can_open(self, watched: Watched, demo: Demo) -> None:
        loan = demo.apply(application(score=5))["id"]
        page = watched.page()
        log_in_at(page, "/admin/", "admin")
        ids: dict[str, str] = {}

        def path_of(address: str) -> str:
            model = re.match(r"/admin/(\w+/\w+)/<", address)

            def value_of(name: str) -> Any:
                if name in ("object_id", "id") and model and not address.startswith("/admin/r/"):
                    return ids.setdefault(model[1], first_id(page, model[1]))
                others = {"app_label": "readmodels", "url": "nowhere", "content_type_id": 1}
                return others.get(name, loan)

            return filled_in(address, value_of)

        pages = 0
        for address in addresses():
            if address == _LOG_OUT:
                continue
            answer = page.request.get(path := path_of(address))
            assert answer.status < 500
            assert "content-security-policy" in answer.headers, address
            # Those that only take forms answer with nothing to look at.
            if answer.text():
                page.goto(path)
                pages += 1
        assert pages > 50

    @pytest.mark.parametrize("path", ["/nowhere", "/api/nowhere", f"/loans/{UUID(int=5)}/"])
    def test_that_is_not_there(self, watched: Watched, path: str) -> None:
        answer = watched.page().goto(path)
        assert answer is not None
        assert answer.status == 404

    def test_for_those_who_may_not_see_it(self, watched: Watched) -> None:
        page = watched.page()
        log_in_at(page, "/admin/", "clerk")
        page.goto("/underwriting/")
        expect(page.get_by_role("heading", name="Not for you")).to_be_visible()

    def test_at_a_host_that_is_not_ours(self, watched: Watched, demo: Demo) -> None:
        # Browsers take all names under localhost for this machine.
        page = watched.page()
        page.goto(f"http://elsewhere.localhost:{demo.port}/")
        expect(page.get_by_role("heading", name="That did not work")).to_be_visible()

    def test_when_something_goes_wrong(self, watched: Watched, demo: Demo) -> None:
        no_database = {"DATABASE_URL": "sqlite:////nowhere/lepret.sqlite3"}
        with running_daphne({**demo.environment, **demo.published, **no_database}) as web:
            wait_until(web.is_alive, SECONDS_TO_START)
            page = watched.page()
            page.goto(f"{web.base_url}/loans/{uuid4()}/")
            expect(page.get_by_role("heading", name="Something went wrong here")).to_be_visible()


class TestWhateverIsDone:
    def test_by_an_applicant(self, watched: Watched) -> None:
        page = watched.page()
        apply(page, someone(), national_id="12", amount="1e3")
        expect(page.locator("#id_amount_error")).to_contain_text("whole number")
        page.get_by_label("National ID").press_sequentially("3")
        page.get_by_label("Amount").fill("5000")
        page.get_by_label("Amount").blur()
        expect(page.locator("#id_amount_error")).to_be_empty()

    @pytest.mark.parametrize(
        ("national_id", "outcome"),
        [("999999aa", "Approved"), ("111111aa", "Denied"), ("", "Under review")],
    )
    def test_on_a_status_page(self, watched: Watched, national_id: str, outcome: str) -> None:
        page = watched.page()
        apply(page, someone(), national_id)
        expect(status(page)).to_have_text(outcome)
        expect_live(page)

    def test_by_an_underwriter(self, watched: Watched) -> None:
        denied, approved = someone(), someone()
        for name in (denied, approved):
            apply(watched.page(), name)
        page = watched.page()
        log_in_at(page, "/underwriting/", "underwriter")
        expect_live(page)
        expect(row(page, approved)).to_be_visible()
        row(page, denied).get_by_role("button", name="Deny", exact=True).click()
        expect(page.get_by_role("dialog")).to_be_visible()
        page.get_by_role("button", name="Deny request").click()
        expect(page.get_by_role("dialog")).to_contain_text("required")
        page.keyboard.press("Escape")
        deny(page, denied)
        expect(page.locator("#notices")).to_contain_text(f"Denied: {denied}.")
        row(page, approved).get_by_role("button", name="Approve", exact=True).click()
        expect(page.locator("#notices")).to_contain_text(f"Approved: {approved}.")
        page.get_by_role("button", name="Log out").click()
        expect(page.get_by_role("heading", name="Staff login")).to_be_visible()

    def test_with_an_account(self, watched: Watched, demo: Demo) -> None:
        name = make_user(demo)
        page = watched.page()
        page.goto("/accounts/home/")
        log_in(page, name)
        expect(page.get_by_role("heading", name="No role yet")).to_be_visible()
        page.get_by_role("link", name="Account").click()
        page.get_by_role("link", name="Second factor").click()
        page.get_by_label("Current password").fill(name)
        phone = Phone(page.locator("#secret").inner_text())
        page.get_by_role("textbox", name="Code").fill(phone.code())
        page.get_by_role("button", name="Set up").click()
        expect(page.locator(".recovery-codes code")).to_have_count(10)
        recovery_code = page.locator(".recovery-codes code").first.inner_text()
        page.get_by_role("button", name="I have kept them").click()
        page.get_by_role("button", name="Log out").last.click()
        log_in(page, name)
        for code in (phone.wrong_code(), recovery_code):
            page.get_by_role("textbox", name="Code").fill(code)
            page.get_by_role("button", name="Log in").click()
        expect(page.get_by_role("heading", name="No role yet")).to_be_visible()
        page.goto("/accounts/sessions/")
        expect(page.get_by_text("logged in nowhere else")).to_be_visible()
        page.goto("/accounts/second-factor/")
        expect(page.get_by_text("You have 9 recovery codes left")).to_be_visible()
        page.goto("/accounts/password/")
        for label in ("Current password", "New password", "New password again"):
            page.get_by_label(label, exact=True).fill(name)
        page.get_by_role("button", name="Change password").click()
        expect(page.locator("#id_new_password1_error")).to_contain_text("current password")

    def test_until_passwords_are_tried_no_more(self, watched: Watched, demo: Demo) -> None:
        name = make_user(demo)
        page = watched.page()
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
        assert demo.manage("unlock", "--address", "127.0.0.1").returncode == 0

    def test_in_the_back_office(self, watched: Watched, demo: Demo) -> None:
        demo.apply(application(score=9))
        page = watched.page()
        rows = "/admin/readmodels/loanrequest/"
        log_in_at(page, rows, "admin")
        page.goto(f"{rows}?q=Ann&status__exact=approved&o=-2")
        page.locator("#action-toggle").check()
        page.get_by_label("Action:").select_option("export_as_csv")
        with page.expect_download() as download:
            page.get_by_role("button", name="Run").or_(
                page.get_by_role("button", name="Go")
            ).click()
        assert download.value.suggested_filename == "loanrequest.csv"
        page.goto("/admin/auth/user/add/")
        page.get_by_role("button", name="Save", exact=True).click()
        expect(page.locator(".errornote")).to_be_visible()
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

    def test_in_the_apis_documentation(self, watched: Watched) -> None:
        page = watched.page()
        page.goto("/api/docs")
        operation = page.locator("#operations-Loan_requests-get_loan_request")
        operation.locator(".opblock-summary-control").click(no_wait_after=True)
        operation.get_by_role("button", name="Try it out").click()
        operation.locator("tr[data-param-name=id] input").fill(str(UUID(int=5)))
        operation.get_by_role("button", name="Execute").click()
        expect(operation.locator(".live-responses-table")).to_contain_text("404")


class TestAPlantedViolation:
    """The tests above could fail."""

    @pytest.mark.parametrize(
        ("planted", "directive"),
        [
            ("<script>window.planted = true</script>", "script-src-elem"),
            ("<p onclick='1'>here</p>", "script-src-attr"),
            ("<p style='color: red'>here</p>", "style-src-attr"),
            ("<img src='https://elsewhere.example/'>", "img-src"),
            ("<base href='https://elsewhere.example/'>", "base-uri"),
        ],
    )
    def test_is_seen_and_has_no_effect(
        self, unwatched: Watched, planted: str, directive: str
    ) -> None:
        page = unwatched.page()

        def plant(route: Route) -> None:
            answer = route.fetch()
            body = answer.text().replace("</main>", f"{planted}</main>")
            route.fulfill(response=answer, body=body)

        page.route("**/accounts/login/", plant)
        page.goto("/accounts/login/")
        assert [each for each in unwatched.complaints if each.startswith(directive)] != []
        assert page.evaluate("window.planted") is None


def test_a_browser_keeps_nothing_of_a_person(watched: Watched) -> None:
    """Cookies, its storage and the history of its addresses, after everything was done there."""
    page = watched.page()
    apply(page, ZOE.name, national_id="12")
    expect(page.get_by_label("National ID")).to_be_focused()
    page.get_by_label("National ID").fill(national_id := application()["national_id"])
    send(page)
    expect(page).to_have_url(re.compile("/loans/"))
    stored = page.evaluate(
        "JSON.stringify([localStorage, sessionStorage, history.state, document.cookie,"
        " location.href, document.title])"
    )
    kept = f"{stored} {watched.context.cookies()}"
    assert not ZOE.is_told_by(kept)
    assert national_id not in kept
    assert {each["name"] for each in watched.context.cookies()} <= {
        "csrftoken",
        "applied",
    }
