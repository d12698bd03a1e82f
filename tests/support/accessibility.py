"""What axe-core finds on a page: in the light, in the dark, and on a phone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Page

PHONE_WIDTH: Final = 360


_EVERYTHING: Final = {
    # WCAG 2.2, levels A and AA, and what axe's authors call best practices.
    "runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
    "rules": {"target-size": {"enabled": True}},  # Of WCAG 2.2, and not yet on by itself.
    "resultTypes": ["violations"],
}
_COLORS: Final = {
    "runOnly": {"type": "rule", "values": ["color-contrast", "link-in-text-block"]},
    "resultTypes": ["violations"],
}


@dataclass(frozen=True)
class Look:
    """How somebody looks at a page, and what is checked then; the width is in CSS pixels."""

    color_scheme: Literal["light", "dark"]
    width: int
    options: Mapping[str, Any]


LOOKS: Final = {
    "light": Look("light", 1280, _EVERYTHING),
    "dark": Look("dark", 1280, _COLORS),
    "phone": Look("light", PHONE_WIDTH, _EVERYTHING),
}

_END_TRANSITIONS: Final = """
document.getAnimations().filter((each) => each instanceof CSSTransition)
  .forEach((each) => each.finish())
"""

# The first and the last rows are enough: axe takes seconds for a hundred.
_MANY_OF_A_KIND: Final = "#queue-rows > tr:nth-child(n + 10):nth-last-child(n + 10)"

# Swagger UI, as django-ninja ships it: its colours and sizes are its own.
_NOT_OURS: Final = ("/api/docs",)


def faults(page: Page, where: str) -> list[str]:
    """What is wrong with a page: a line for each element, with the look and the rule."""
    if urlsplit(page.url).path in _NOT_OURS:
        return []
    if page.evaluate("document.contentType") != "text/html":
        return []
    page.evaluate(AXE_SCRIPT)
    size = page.viewport_size
    found = [
        f"{where}, {name}: {fault}" for name, look in LOOKS.items() for fault in _faults(page, look)
    ]
    if size is not None:
        page.set_viewport_size(size)
    return found


def _faults(page: Page, look: Look) -> Iterator[str]:
    page.emulate_media(color_scheme=look.color_scheme, reduced_motion="reduce")
    page.set_viewport_size({"width": look.width, "height": 800})
    # A colour on its way to another is neither.
    page.evaluate(_END_TRANSITIONS)
    width = page.evaluate("document.documentElement.scrollWidth")
    if width > look.width:
        yield f"reflow: the page is {width} wide"
    what = [{"exclude": [[_MANY_OF_A_KIND]]}, look.options]
    for rule in page.evaluate("([what, options]) => axe.run(what, options)", what)["violations"]:
        for node in rule["nodes"]:
            checks = [each["message"] for kind in ("any", "all", "none") for each in node[kind]]
            yield f"{rule['id']} at {' '.join(map(str, node['target']))}: {'; '.join(checks)}"
