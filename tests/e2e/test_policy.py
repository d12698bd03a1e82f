"""The content security policy in a browser: no page breaks it, whatever is done there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Route, expect

from tests.support.api import application
from tests.support.browser import new_context
from tests.support.demo import Demo
from tests.support.loans import ZOE
from tests.support.pages import apply, log_in_at, send
from tests.support.walks import WALKS, Walk, paths

_TELL: Final = """
document.addEventListener("securitypolicyviolation", (event) =>
  tellViolation(`${event.effectiveDirective} at ${document.URL}: ${event.blockedURI}`));
"""


@dataclass
class Watched:
    """A browser of one person's, and what its pages have done against the policy."""

    context: BrowserContext
    complaints: list[str] = field(default_factory=list)

    def page(self) -> Page:
        return self.context.new_page()

    def note(self, message: ConsoleMessage) -> None:
        # Of the text alone: pages of the lending policy have the word in their addresses.
        if re.search(r"polic(y|ies)", message.text, re.IGNORECASE):
            self.complaints.append(f"{message.page}: {message.text}")


def watched_browser(browser: Browser, demo: Demo) -> Iterator[Watched]:
    context = new_context(browser, demo.base_url)
    watched = Watched(context)
    context.expose_binding("tellViolation", lambda _, words: watched.complaints.append(words))
    context.add_init_script(_TELL)
    context.on("weberror", lambda each: watched.complaints.append(f"{each.page}: {each.error}"))
    context.on("console", watched.note)
    yield watched
    context.close()


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


def test_no_page_breaks_it(watched: Watched, demo: Demo) -> None:
    page = watched.page()
    log_in_at(page, "/admin/", "admin")
    pages = 0
    for path in paths(demo):
        answer = page.request.get(path)
        assert answer.status < 500
        assert "content-security-policy" in answer.headers, path
        # Those that only take forms answer with nothing to look at.
        if answer.text():
            page.goto(path)
            pages += 1
    assert pages > 50


@pytest.mark.parametrize("walk", WALKS.values(), ids=WALKS)
def test_nothing_that_is_done_breaks_it(watched: Watched, demo: Demo, walk: Walk) -> None:
    assert list(walk(watched.page(), demo)) != []


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
