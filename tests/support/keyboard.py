"""Somebody who uses the keyboard alone, and sees where the focus is."""

from __future__ import annotations

from typing import Final

from playwright.sync_api import Locator, Page, expect

_IS_SEEN: Final = r"""
() => {
  const element = document.activeElement;
  const style = getComputedStyle(element);
  const isOpaque = (color) => !/^rgba\(.*, 0\)$|^transparent$/.test(color);
  const outlined = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0
    && isOpaque(style.outlineColor);
  const shadows = [...style.boxShadow.matchAll(/(\w+\([^)]*\))([^,]*)/g)];
  const shadowed = shadows.some(([, color, sizes]) => isOpaque(color) && /[1-9]/.test(sizes));
  const box = element.getBoundingClientRect();
  const inside = box.right > 0 && box.bottom > 0 && box.left < innerWidth && box.top < innerHeight;
  return (outlined || shadowed) && inside;
}
"""


class Keyboard:
    """The keyboard of one page, on which every stop of the focus must be seen."""

    def __init__(self, page: Page) -> None:
        self._page = page

    def tab_to(self, wanted: Locator, most: int = 60) -> None:
        """Press Tab until the focus is there.

        Raises:
            AssertionError: it is not after the most presses, or cannot be seen on its way.
        """
        expect(wanted).to_be_visible()
        for _ in range(most):
            if wanted.evaluate("(element) => element === document.activeElement"):
                return
            self._page.keyboard.press("Tab")
            self._expect_focus_to_be_seen()
        expect(wanted).to_be_focused()

    def type_into(self, field: Locator, words: str) -> None:
        """Go to a field, and type."""
        self.tab_to(field)
        self._page.keyboard.type(words)

    def press(self, control: Locator, key: str = "Enter") -> None:
        """Go to a button or a link, and press it."""
        self.tab_to(control)
        self._page.keyboard.press(key)

    def _expect_focus_to_be_seen(self) -> None:
        # A transition may still be on its way.
        where = self._page.evaluate("document.activeElement.outerHTML.slice(0, 200)")
        if where.startswith("<body"):
            return  # The page's end, from which Tab leads to its start.
        try:
            self._page.wait_for_function(_IS_SEEN)
        except Exception as error:
            raise AssertionError(f"the focus is not seen at {where}") from error
