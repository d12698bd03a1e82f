"""Filtering and ordering the open queue, while it changes."""

from __future__ import annotations

import random
from datetime import timedelta
from uuid import UUID

import pytest
from django.utils import timezone
from playwright.sync_api import Locator, Page, expect

from loans.domain.events import RequestClaimed, RequestReleased
from tests.e2e.conftest import Say
from tests.support.accessibility import PHONE_WIDTH, faults
from tests.support.api import application
from tests.support.demo import Demo
from tests.support.pages import expect_live, someone

SHOWN = "#queue-rows > tr:not([hidden])"


class Few:
    """Requests for amounts that nobody else asks for, so that a filter shows these alone."""

    def __init__(self, demo: Demo) -> None:
        self._demo = demo
        self.base = random.randrange(1_000_000, 9_000_000) * 100
        self.ids: dict[str, UUID] = {}

    @property
    def ends(self) -> str:
        return f"from={self.base}&to={self.base + 99}"

    def apply(self, amount: int) -> str:
        """Ask for so much above the lowest amount; returns the name."""
        name = someone()
        body = application(score=5, name=name, amount=self.base + amount)
        self.ids[name] = UUID(self._demo.apply(body)["id"])
        return name


@pytest.fixture
def few(demo: Demo) -> Few:
    return Few(demo)


def shown(page: Page) -> Locator:
    """The names in the list."""
    return page.locator(f"{SHOWN} > th > a")


def choose_ends(page: Page, few: Few) -> None:
    page.get_by_label("From").fill(str(few.base))
    page.get_by_label("To").fill(str(few.base + 99))


def choose(page: Page, field: str, words: str) -> None:
    page.get_by_label(field, exact=True).select_option(label=words)


def claim(loan: UUID, by: str, *, seconds: float = 600) -> RequestClaimed:
    now = timezone.now()
    return RequestClaimed(id=loan, occurred_at=now, by=by, until=now + timedelta(seconds=seconds))


def test_a_filter_and_an_order_survive_live_frames_and_a_reload(
    underwriter: Page, few: Few
) -> None:
    small, large = few.apply(10), few.apply(90)
    choose_ends(underwriter, few)
    expect(shown(underwriter)).to_have_text([small, large])
    choose(underwriter, "Order", "Largest amount")
    expect(shown(underwriter)).to_have_text([large, small])
    expect(underwriter).to_have_url(f"/underwriting/?{few.ends}&sort=amount")

    outside, middle = few.apply(100), few.apply(50)
    expect(shown(underwriter)).to_have_text([large, middle, small])
    hidden = underwriter.locator(f"#request-{few.ids[outside]}")
    expect(hidden).to_have_count(1)
    expect(hidden).to_be_hidden()
    count = underwriter.locator("#queue-rows > tr").count()
    expect(underwriter.locator("#filter-count")).to_have_text(f"3 of {count} shown.")

    underwriter.reload()
    expect(shown(underwriter)).to_have_text([large, middle, small])
    expect(underwriter.get_by_label("Order", exact=True)).to_have_value("amount")
    expect_live(underwriter)
    expect(shown(underwriter)).to_have_text([large, middle, small])

    choose(underwriter, "Order", "First due")
    expect(shown(underwriter)).to_have_text([small, large, middle])
    expect(underwriter).to_have_url(f"/underwriting/?{few.ends}")


def test_a_claim_elsewhere_changes_what_is_unclaimed_and_what_is_mine(
    underwriter: Page, colleague: Page, few: Few, say: Say
) -> None:
    first, second = few.apply(1), few.apply(2)
    for page in (underwriter, colleague):
        choose_ends(page, few)
        expect(shown(page)).to_have_text([first, second])
    choose(colleague, "Show", "Mine")
    expect(shown(colleague)).to_have_count(0)
    choose(underwriter, "Show", "Unclaimed")

    say(claim(few.ids[first], "admin"))
    expect(shown(underwriter)).to_have_text([second])
    expect(shown(colleague)).to_have_text([first])

    say(RequestReleased(id=few.ids[first], occurred_at=timezone.now(), by="admin"))
    expect(shown(underwriter)).to_have_text([first, second])
    expect(shown(colleague)).to_have_count(0)


def test_who_claims_something_finds_it_under_mine(
    underwriter: Page, colleague: Page, few: Few
) -> None:
    first, second = few.apply(1), few.apply(2)
    for page in (underwriter, colleague):
        choose_ends(page, few)
        choose(page, "Show", "Unclaimed")
        expect(shown(page)).to_have_text([first, second])
    claimed = underwriter.locator(f"#request-{few.ids[first]}")
    expect(claimed).not_to_have_attribute("aria-disabled", "true")
    claimed.get_by_role("button", name="Claim", exact=True).click()
    expect(shown(colleague)).to_have_text([second])
    expect(claimed).to_contain_text("You")
    choose(underwriter, "Show", "Mine")
    expect(shown(underwriter)).to_have_text([first])


def test_a_claim_that_runs_out_shows_by_itself(underwriter: Page, few: Few, say: Say) -> None:
    name = few.apply(1)
    choose_ends(underwriter, few)
    choose(underwriter, "Show", "Unclaimed")
    expect(shown(underwriter)).to_have_text([name])
    say(claim(few.ids[name], "admin", seconds=8))
    expect(shown(underwriter)).to_have_count(0)
    expect(shown(underwriter)).to_have_text([name])


def test_no_row_goes_from_under_a_pointer(underwriter: Page, few: Few, say: Say) -> None:
    first, second = few.apply(1), few.apply(2)
    choose_ends(underwriter, few)
    choose(underwriter, "Show", "Unclaimed")
    expect(shown(underwriter)).to_have_text([first, second])
    underwriter.locator(f"#request-{few.ids[first]}").hover()

    say(claim(few.ids[first], "admin"))
    expect(underwriter.locator(f"#request-{few.ids[first]}")).to_contain_text("admin")
    expect(shown(underwriter)).to_have_text([first, second])
    underwriter.mouse.move(0, 0)
    expect(shown(underwriter)).to_have_text([second])


def test_without_javascript_the_same_is_shown(
    underwriter: Page, unscripted: Page, few: Few
) -> None:
    small, large = few.apply(10), few.apply(90)
    few.apply(100)
    expect(underwriter.locator("#queue-rows")).to_contain_text(large)
    unscripted.goto("/underwriting/")
    choose_ends(unscripted, few)
    choose(unscripted, "Show", "Unclaimed")
    choose(unscripted, "Order", "Largest amount")
    unscripted.get_by_role("button", name="Show", exact=True).click()
    expect(unscripted).to_have_url(f"/underwriting/?show=unclaimed&{few.ends}&sort=amount")
    expect(shown(unscripted)).to_have_text([large, small])
    expect(unscripted.locator("#filter-count")).to_contain_text("2 of ")
    underwriter.goto(unscripted.url)
    expect(shown(underwriter)).to_have_text([large, small])


def test_with_the_keyboard_it_is_applied_without_leaving_the_page(
    underwriter: Page, few: Few
) -> None:
    name = few.apply(1)
    expect(underwriter.locator("#queue-rows")).to_contain_text(name)
    underwriter.evaluate("window.isSamePage = true")
    underwriter.locator("#filter-show").focus()
    for keys in ("Tab", str(few.base), "Tab", str(few.base - 1), "Enter"):
        if keys.isdigit():
            underwriter.keyboard.type(keys)
        else:
            underwriter.keyboard.press(keys)
    expect(underwriter.get_by_text("no request is between them")).to_be_visible()
    expect(shown(underwriter)).to_have_count(0)
    underwriter.get_by_label("To").fill("")
    expect(underwriter.get_by_text("no request is between them")).to_be_hidden()
    expect(shown(underwriter).filter(has_text=name)).to_have_count(1)
    assert underwriter.evaluate("window.isSamePage")


def test_what_is_no_filter_is_said_to_be_none(underwriter: Page, few: Few) -> None:
    name = few.apply(1)
    expect(underwriter.locator("#queue-rows")).to_contain_text(name)
    underwriter.goto("/underwriting/?show=nobody&from=much&sort=-amount")
    expect(underwriter.locator("#queue-filter")).to_contain_text("This is no whole amount")
    expect(underwriter.get_by_text("This is not known, and left out.")).to_be_visible()
    expect(shown(underwriter).filter(has_text=name)).to_have_count(1)
    assert faults(underwriter, "a bad filter") == []
    choose(underwriter, "Show", "Mine")
    expect(underwriter.get_by_text("This is not known")).to_have_count(0)
    expect(underwriter).to_have_url("/underwriting/?show=mine")


def test_on_a_phone_it_is_above_the_list_and_leaves_room_for_it(
    underwriter: Page, few: Few
) -> None:
    name = few.apply(1)
    underwriter.set_viewport_size({"width": PHONE_WIDTH, "height": 640})
    choose_ends(underwriter, few)
    expect(shown(underwriter)).to_have_text([name])
    height = underwriter.locator("#queue-filter").evaluate("form => form.offsetHeight")
    assert height < 240
    assert faults(underwriter, "filtered") == []
