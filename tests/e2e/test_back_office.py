"""The back office in a browser: nobody's name makes a page unusable, and all of it can be read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support.api import application
from tests.support.demo import Demo
from tests.support.pages import log_in, page_of
from tests.support.processes import wait_until

LIST = "/admin/readmodels/loanrequest/"
LONG_NAME = "W" * 200

# The least contrast of the page's words with what is behind them (WCAG 2.2, 1.4.3: 4.5), and where.
_LEAST_CONTRAST = """
() => {
  // A colour on its way to another is neither.
  document.getAnimations().forEach((each) => each.finish());
  const channels = (color) => color.match(/[\\d.]+/g).map(Number);
  const luminance = ([red, green, blue]) => {
    const [r, g, b] = [red, green, blue].map((each) => each / 255)
      .map((each) => each <= 0.04045 ? each / 12.92 : ((each + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const over = (front, back) => {
    const alpha = front[3] ?? 1;
    return [0, 1, 2].map((i) => front[i] * alpha + back[i] * (1 - alpha));
  };
  const behind = (element) => {
    if (!element) return channels(getComputedStyle(document.body).backgroundColor);
    const color = channels(getComputedStyle(element).backgroundColor);
    return (color[3] ?? 1) === 1 ? color : over(color, behind(element.parentElement));
  };
  const hasWords = (element) => [...element.childNodes]
    .some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim());
  const found = [...document.body.querySelectorAll("*")]
    .filter((element) => hasWords(element) && element.checkVisibility() && !element.disabled)
    .filter((element) => !element.closest(".visually-hidden, .skip-to-content-link"))
    .filter((element) => !element.closest("script, option"))
    .map((element) => {
      const back = behind(element);
      const front = over(channels(getComputedStyle(element).color), back);
      const [light, dark] = [luminance(front), luminance(back)].sort((a, b) => b - a);
      const where = `${element.tagName}.${element.className}: ${element.textContent.trim()}`;
      return [(light + 0.05) / (dark + 0.05), where.slice(0, 80)];
    });
  return found.sort(([a], [b]) => a - b)[0];
}
"""


@pytest.fixture(scope="module")
def loan_id(demo: Demo) -> str:
    """A request of somebody with a very long name, and of others."""
    for score in (1, 5, 9):
        demo.apply(application(score=score))
    answer = demo.apply(application(score=9, name=LONG_NAME, address=LONG_NAME, amount=123_456_789))
    loan_id: str = answer["id"]
    return loan_id


def is_shown(page: Page, loan_id: str) -> bool:
    page.goto(f"{LIST}{loan_id}/change/")
    return page.get_by_role("heading", name=LONG_NAME).count() == 1


@pytest.fixture
def clerk(browser: Browser, demo: Demo, loan_id: str) -> Iterator[Page]:
    for page in page_of(browser, demo):
        page.goto("/admin/")
        log_in(page, "clerk")
        expect(page.get_by_role("heading", name="Needs somebody")).to_be_visible()
        wait_until(partial(is_shown, page, loan_id))
        yield page


def width_of(page: Page) -> int:
    width: int = page.evaluate("document.documentElement.scrollWidth")
    return width


def test_the_decision_is_in_view_at_1280_px_beside_a_very_long_name(clerk: Page) -> None:
    clerk.set_viewport_size({"width": 1280, "height": 800})
    clerk.goto(LIST)
    results = clerk.locator("#changelist .results")
    assert results.evaluate("(each) => each.scrollWidth <= each.clientWidth")
    right_edge = results.evaluate("(each) => each.getBoundingClientRect().right")
    for name in ("Status", "Decided by", "Decided at"):
        box = clerk.get_by_role("columnheader", name=re.compile(f"^{name}")).bounding_box()
        assert box is not None
        assert box["x"] + box["width"] <= right_edge + 1, name
    link = clerk.get_by_role("link", name=LONG_NAME)
    height = link.evaluate("(each) => each.offsetHeight")
    line_height = link.evaluate("(each) => parseFloat(getComputedStyle(each).lineHeight)")
    assert height <= 2 * line_height + 1  # It is cut, and its page has the whole.


@pytest.mark.parametrize("width", [360, 768, 1280, 1920])
def test_no_page_is_wider_than_the_window(clerk: Page, loan_id: str, width: int) -> None:
    clerk.set_viewport_size({"width": width, "height": 800})
    for path in ("/admin/", LIST, f"{LIST}{loan_id}/change/", "/admin/readmodels/loanstatus/"):
        clerk.goto(path)
        assert width_of(clerk) <= width, path
    clerk.goto(f"{LIST}{loan_id}/change/")
    cut = ".readonly, h1, .breadcrumbs, .history td"
    cuts = (
        f"[...document.querySelectorAll('{cut}')].filter((e) => e.scrollWidth > e.clientWidth + 1)"
    )
    assert clerk.evaluate(f"{cuts}.map((each) => each.className)") == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_words_can_be_read(clerk: Page, loan_id: str, scheme: str) -> None:
    clerk.emulate_media(
        color_scheme="dark" if scheme == "dark" else "light", reduced_motion="reduce"
    )
    for path in (
        "/admin/",
        LIST,
        f"{LIST}?outcome=waiting&amount__lte=1",
        f"{LIST}{loan_id}/change/",
        "/admin/readmodels/checkpoint/",
        "/admin/readmodels/parkedcreditcheck/",
    ):
        clerk.goto(path)
        contrast, where = clerk.evaluate(_LEAST_CONTRAST)
        assert contrast >= 4.5, f"{path}: {where}"
