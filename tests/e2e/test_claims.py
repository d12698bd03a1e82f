"""Who works on a request, in the open queue and on the open page of a request."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from time import monotonic
from typing import Final
from urllib.parse import urlsplit
from uuid import UUID

import pytest
from django.utils import timezone
from playwright.sync_api import Browser, Locator, Page, ViewportSize, expect

from loans.domain.events import NoteAdded, RequestClaimed, RequestEscalated
from tests.e2e.conftest import Say
from tests.support.accessibility import faults
from tests.support.api import application
from tests.support.browser import new_context
from tests.support.demo import Demo
from tests.support.pages import expect_live, live_queue_of, log_in_at, make_user, row, someone

FREE: Final = ["Claim", "Approve", "Deny"]
MOST_TRIES: Final = 5
PHONE: Final[ViewportSize] = {"width": 360, "height": 740}


@pytest.fixture(scope="module")
def colleagues_session(demo: Demo) -> str:
    """Of one who leads nobody."""
    with demo.browser("colleague", "colleague") as browser:
        session: str = browser.cookies["sessionid"]
    return session


@pytest.fixture
def colleague(browser: Browser, demo: Demo, colleagues_session: str) -> Iterator[Page]:
    yield from live_queue_of(browser, demo, colleagues_session)


@pytest.fixture
def name() -> str:
    return someone()


@pytest.fixture
def loan(demo: Demo, underwriter: Page, colleague: Page, name: str) -> UUID:
    """A request that both queues show, and that takes clicks."""
    loan = UUID(demo.apply(application(score=5, name=name))["id"])
    for page in (underwriter, colleague):
        expect(row(page, name)).to_have_count(1)
        takes_clicks(page)
    return loan


def takes_clicks(page: Page) -> None:
    expect(page.locator("#queue-rows > tr[aria-disabled]")).to_have_count(0)


def buttons(row: Locator) -> Locator:
    return row.get_by_role("button")


def press(row: Locator, words: str) -> None:
    row.get_by_role("button", name=words, exact=True).click()


def claimed(loan: UUID, by: str, *, seconds: float = 600) -> RequestClaimed:
    now = timezone.now()
    return RequestClaimed(id=loan, occurred_at=now, by=by, until=now + timedelta(seconds=seconds))


def noted(loan: UUID) -> NoteAdded:
    return NoteAdded(id=loan, occurred_at=timezone.now(), by="somebody", text="Called.")


def test_a_claim_shows_everywhere_and_takes_the_buttons_away(
    underwriter: Page, colleague: Page, loan: UUID, name: str
) -> None:
    mine, theirs = row(underwriter, name), row(colleague, name)
    press(mine, "Claim")
    expect(theirs).to_contain_text(re.compile(r"underwriter, \d+ min left"))
    expect(buttons(theirs)).to_have_count(0)
    expect(theirs.get_by_role("link", name=name)).to_be_visible()
    expect(mine).to_contain_text(re.compile(r"You, \d+ min left"))
    expect(buttons(mine)).to_have_text(["Release", "Approve", "Deny"])
    expect(underwriter.locator("[data-figure=mine]")).not_to_have_text("0")
    assert [*faults(underwriter, "own"), *faults(colleague, "another's")] == []

    underwriter.reload()
    expect_live(underwriter)
    expect(buttons(mine)).to_have_text(["Release", "Approve", "Deny"])
    takes_clicks(underwriter)
    press(mine, "Release")
    expect(buttons(theirs)).to_have_text(FREE)
    expect(buttons(mine)).to_have_text(FREE)


def test_a_claim_shows_within_a_second(
    underwriter: Page, colleague: Page, loan: UUID, name: str
) -> None:
    seconds = []
    for _ in range(MOST_TRIES):  # The machine may be busy with something else.
        takes_clicks(underwriter)
        since = monotonic()
        press(row(underwriter, name), "Claim")
        expect(buttons(row(colleague, name))).to_have_count(0)
        seconds.append(monotonic() - since)
        if seconds[-1] < 1:
            return
        takes_clicks(underwriter)
        press(row(underwriter, name), "Release")
        expect(buttons(row(colleague, name))).to_have_text(FREE)
    pytest.fail(f"A claim showed only after {min(seconds):.1f} s.")


def test_a_claim_runs_out_without_a_word_from_the_server(
    underwriter: Page, colleague: Page, loan: UUID, say: Say, name: str
) -> None:
    theirs = row(colleague, name)
    say(claimed(loan, "underwriter", seconds=2))
    expect(theirs).to_contain_text("underwriter, 1 min left")
    colleague.context.set_offline(True)
    expect(buttons(theirs)).to_have_text(FREE)
    expect(theirs.locator(".holder")).to_be_hidden()
    expect(buttons(row(underwriter, name))).to_have_text(FREE)
    colleague.context.set_offline(False)


def test_who_is_logged_out_can_be_given_one_and_finds_it_later(
    underwriter: Page, colleague: Page, page: Page, demo: Demo, loan: UUID, name: str
) -> None:
    absent = make_user(demo, "Underwriters")
    mine, theirs = row(underwriter, name), row(colleague, name)
    press(mine, "Claim")
    expect(mine).to_contain_text("You, 10 min left")
    takes_clicks(underwriter)
    mine.locator("summary").click()
    press(mine, "Hand over")
    underwriter.get_by_label("To", exact=True).select_option(absent)
    underwriter.get_by_label("Why").fill("Lunch.")
    underwriter.get_by_role("button", name="Hand over request").click()
    for each in (mine, theirs):
        expect(each).to_contain_text(re.compile(rf"{absent}, \d+ h left"))
        expect(buttons(each)).to_have_count(0)

    log_in_at(page, f"/underwriting/{loan}/", absent)
    expect_live(page)
    expect(page.locator(".claim-panel")).to_contain_text(re.compile(r"You, \d+ h left"))
    press(page.locator(".claim-panel"), "Release")
    expect(buttons(theirs)).to_have_text(FREE)


def test_a_claim_counts_down(colleague: Page, loan: UUID, say: Say, name: str) -> None:
    say(claimed(loan, "underwriter", seconds=122))
    expect(row(colleague, name)).to_contain_text("underwriter, 3 min left")
    expect(row(colleague, name)).to_contain_text("underwriter, 2 min left")


def test_what_is_left_to_leads_has_buttons_for_them_alone(
    underwriter: Page, colleague: Page, loan: UUID, say: Say, name: str
) -> None:
    why = RequestEscalated(
        id=loan, occurred_at=timezone.now(), by="underwriter", why="Too large for me."
    )
    say(why)
    for page in (underwriter, colleague):
        expect(row(page, name)).to_contain_text("underwriter: Too large for me.")
        expect(buttons(row(page, name))).to_have_count(0)


def test_focus_and_menu_survive_what_becomes_of_a_row(
    underwriter: Page, colleague: Page, loan: UUID, say: Say, name: str
) -> None:
    theirs = row(colleague, name)
    more = theirs.locator("summary")
    more.click()
    note = theirs.get_by_role("button", name="Approve with a note")
    note.focus()
    box = theirs.bounding_box()
    say(noted(loan))
    expect(theirs).to_contain_text("1 note")
    expect(note).to_be_focused()
    after = theirs.bounding_box()
    assert box
    assert after
    assert box["y"] == after["y"]

    say(claimed(loan, "underwriter", seconds=3))
    expect(note).to_be_hidden()
    expect(theirs).to_be_focused()
    expect(theirs.locator(".more")).to_have_attribute("open", "")
    expect(note).to_be_visible()
    colleague.keyboard.press("Tab")
    more.focus()
    colleague.keyboard.press("Escape")
    expect(note).to_be_hidden()
    expect(more).to_be_focused()


class TestThePageOfARequest:
    def test_a_claim_takes_the_forms_away_and_leaves_what_is_typed(
        self, underwriter: Page, colleague: Page, loan: UUID, say: Say
    ) -> None:
        colleague.goto(f"/underwriting/{loan}/")
        expect_live(colleague)
        note = colleague.get_by_label("Note on an approval")
        note.fill("Half a thought")
        say(claimed(loan, "underwriter", seconds=3))
        expect(colleague.locator(".claim-panel")).to_contain_text("underwriter, 1 min left")
        expect(note).to_be_hidden()
        expect(note).to_have_value("Half a thought")
        expect(note).to_be_visible()
        expect(colleague.locator(".claim-panel")).to_contain_text("Nobody at the moment.")
        assert faults(colleague, "a request that nobody holds") == []

    def test_can_be_claimed_and_released_there(self, colleague: Page, loan: UUID) -> None:
        colleague.goto(f"/underwriting/{loan}/")
        expect_live(colleague)
        panel = colleague.locator(".claim-panel")
        press(panel, "Claim")
        expect(panel).to_contain_text("You, 10 min left")
        expect(buttons(panel)).to_have_text(["Release", "Hand over", "Escalate"])
        press(panel, "Release")
        expect(buttons(panel)).to_have_text(["Claim", "Escalate"])

    def test_a_claim_goes_on_while_the_page_is_used(
        self, colleague: Page, loan: UUID, say: Say
    ) -> None:
        colleague.goto(f"/underwriting/{loan}/")
        expect_live(colleague)
        say(claimed(loan, "colleague", seconds=30))
        expect(colleague.locator(".claim-panel")).to_contain_text("You, 10 min left")
        expect(colleague.locator("#notices > .notice")).to_have_count(0)

    def test_says_when_a_claim_is_lost(self, colleague: Page, loan: UUID, say: Say) -> None:
        colleague.route("**/claim/", lambda route: route.abort())
        colleague.goto(f"/underwriting/{loan}/")
        expect_live(colleague)
        say(claimed(loan, "colleague", seconds=2))
        expect(colleague.locator("#notices")).to_contain_text("You do not hold this request")


class TestOnAPhone:
    def test_rows_are_two_lines_that_open(
        self, demo: Demo, underwriter: Page, loan: UUID, name: str
    ) -> None:
        underwriter.set_viewport_size(PHONE)
        mine = row(underwriter, name)
        details = mine.get_by_role("button", name="Details")
        expect(buttons(mine)).to_have_text(["Details"])
        assert closed(mine) <= 80
        details.press("Enter")
        expect(details).to_have_attribute("aria-expanded", "true")
        expect(buttons(mine)).to_have_text(["Details", *FREE])
        assert faults(underwriter, "an open row") == []
        takes_clicks(underwriter)
        press(mine, "Claim")
        expect(buttons(mine)).to_have_text(["Details", "Release", "Approve", "Deny"])
        details.click()
        expect(buttons(mine)).to_have_text(["Details"])
        assert closed(mine) <= 80

    def test_sixty_are_no_long_way(self, demo: Demo, underwriter: Page, loan: UUID) -> None:
        missing = 60 - underwriter.locator("#queue-rows > tr").count()
        for _ in range(missing):
            demo.apply(application(score=5, name=f"{someone()} of the {'Long ' * 12}names"))
        rows = underwriter.locator("#queue-rows > tr")
        expect(rows.nth(59)).to_be_attached()
        underwriter.set_viewport_size(PHONE)
        count = rows.count()
        height = underwriter.evaluate("document.documentElement.scrollHeight")
        assert height < 6_500 * count / 60


def closed(row: Locator) -> float:
    box = row.bounding_box()
    assert box is not None
    return box["height"]


def test_without_scripts_all_of_a_row_is_there(
    browser: Browser, demo: Demo, colleagues_session: str, loan: UUID, name: str
) -> None:
    context = new_context(browser, demo.base_url, java_script_enabled=False, viewport=PHONE)
    context.add_cookies([{"name": "sessionid", "value": colleagues_session, "url": demo.base_url}])
    page = context.new_page()
    page.goto("/underwriting/")
    mine = page.locator(f"#request-{loan}")
    for words in FREE:
        expect(mine.get_by_role("button", name=words, exact=True)).to_be_visible()
    mine.locator("summary").click()
    expect(mine.get_by_role("button", name="Escalate")).to_be_visible()
    press(mine, "Claim")
    expect(page).to_have_url(re.compile(f"/underwriting/{loan}/"))
    expect(page.locator(".claim-panel")).to_contain_text("You, 10 min left")
    context.close()


class TestTheNext:
    def test_is_of_what_is_shown_and_another_one_for_each(
        self, demo: Demo, underwriter: Page, colleague: Page, loan: UUID
    ) -> None:
        others = [
            demo.apply(application(score=5, name=someone(), amount=7_771))["id"] for _ in range(3)
        ]
        for page in (underwriter, colleague):
            page.goto("/underwriting/?from=7771&to=7771")
            expect_live(page)
            expect(page.locator("#queue-rows > tr:not([hidden])")).to_have_count(3)
        taken = [take_next(page) for page in (underwriter, colleague)]
        underwriter.goto("/underwriting/?from=7771&to=7771")
        expect(underwriter.locator("#queue-rows > .is-held:not([hidden])")).to_have_count(2)
        taken.append(take_next(underwriter))
        assert sorted(taken) == sorted(others)
        colleague.goto("/underwriting/?from=7771&to=7771")
        expect(colleague.locator("#queue-rows > .is-held:not([hidden])")).to_have_count(3)
        colleague.get_by_role("button", name="Take the next").click()
        expect(colleague.locator("#notices")).to_contain_text("nothing", ignore_case=True)

    def test_follows_the_one_whose_page_is_open(
        self, demo: Demo, underwriter: Page, loan: UUID
    ) -> None:
        other = someone()
        demo.apply(application(score=5, name=other))
        expect(row(underwriter, other)).to_have_count(1)
        underwriter.goto(f"/underwriting/{loan}/")
        assert take_next(underwriter) != str(loan)


def take_next(page: Page) -> str:
    """The id of the request that the page leads to, which is claimed."""
    before = page.url
    page.get_by_role("button", name="Take the next").click()
    page.wait_for_url(lambda url: url != before and "/underwriting/" in url)
    expect(page.locator(".claim-panel .holder")).to_contain_text("You")
    return urlsplit(page.url).path.strip("/").split("/")[-1]
