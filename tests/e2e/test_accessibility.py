"""Every page, and what people meet there, is accessible: axe-core finds nothing to mend."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Final

import httpx2
import pytest
from playwright.sync_api import Page

from tests.support.accessibility import LOOKS, faults
from tests.support.demo import Demo
from tests.support.pages import log_in_at
from tests.support.walks import WALKS, Walk, paths

# A busy machine takes seconds for each page.
pytestmark = pytest.mark.timeout(900)

# Each may open what those before may, and more; the first is a stranger.
PEOPLE: Final = ("", "underwriter", "clerk", "policy", "admin")

PLANTED: Final = {
    "image-alt": ("main.append(new Image())", ["light", "phone"]),
    "label": ("document.querySelectorAll('label').forEach((e) => e.remove())", ["light", "phone"]),
    "color-contrast": (
        "sheet('@media (prefers-color-scheme: dark) { h1 { color: #333 !important } }')",
        ["dark"],
    ),
    "target-size": (
        (
            "main.innerHTML = '<button>1</button>'.repeat(2);"
            " sheet('@media (max-width: 40rem) { button { all: unset } }')"
        ),
        ["phone"],
    ),
    "reflow": ("sheet('h1 { min-width: 30rem }')", ["phone"]),
}
_SHEET: Final = """
const main = document.querySelector("main");
const sheet = (rules) => {
  const added = new CSSStyleSheet();
  added.replaceSync(rules);
  document.adoptedStyleSheets.push(added);
};
"""


@pytest.fixture(scope="module")
def pages(demo: Demo) -> dict[str, list[str]]:
    """What each person may open that those before may not, so that no page is checked twice."""
    left = paths(demo)
    found: dict[str, list[str]] = {}
    for name in PEOPLE:
        with ExitStack() as stack:
            browser = stack.enter_context(
                demo.browser(name, name) if name else httpx2.Client(base_url=demo.base_url)
            )
            found[name] = [path for path in left if browser.get(path).is_success]
        left = [path for path in left if path not in found[name]]
    return found


@pytest.mark.parametrize("name", PEOPLE)
def test_every_page(page: Page, pages: dict[str, list[str]], name: str) -> None:
    if name:
        log_in_at(page, "/accounts/", name)
    assert len(pages[name]) > 1
    found = []
    for path in pages[name]:
        page.goto(path)
        found += faults(page, path)
    assert found == [], "\n".join(found)


@pytest.mark.parametrize("walk", WALKS.values(), ids=WALKS)
def test_whatever_is_done(page: Page, demo: Demo, walk: Walk) -> None:
    found = [fault for state in walk(page, demo) for fault in faults(page, state)]
    assert found == [], "\n".join(found)


@pytest.mark.parametrize("rule", PLANTED)
def test_a_planted_fault_is_seen(page: Page, rule: str) -> None:
    """The tests above could fail."""
    planted, looks = PLANTED[rule]
    page.goto("/accounts/login/")
    page.evaluate(f"() => {{ {_SHEET} {planted} }}")
    found = [fault for fault in faults(page, "here") if f": {rule}" in fault]
    assert [look for look in LOOKS if any(f", {look}: " in fault for fault in found)] == looks
