"""The underwriters' keys move, and press buttons; none decides, and all can be switched off."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.support.accessibility import faults
from tests.support.api import application
from tests.support.demo import Demo
from tests.support.pages import expect_live, row, someone


@pytest.fixture
def three(demo: Demo, underwriter: Page) -> list[Locator]:
    """Rows that follow each other at the end of the open list, and take clicks."""
    names = [someone() for _ in range(3)]
    for name in names:
        demo.apply(application(score=5, name=name))
    for name in names:
        expect(row(underwriter, name)).to_have_count(1)
    expect(underwriter.locator("#queue-rows > tr[aria-disabled]")).to_have_count(0)
    return [row(underwriter, name) for name in names]


@pytest.fixture
def press(underwriter: Page) -> Callable[[str], None]:
    return underwriter.keyboard.press


def go_to(page: Page, row: Locator) -> None:
    row.evaluate("(row) => { row.tabIndex = -1; row.focus(); }")
    expect(row).to_be_focused()


def dialog(page: Page) -> Locator:
    return page.get_by_role("dialog")


def test_j_and_k_move_between_the_rows_that_are_shown(
    underwriter: Page, three: list[Locator], press: Callable[[str], None]
) -> None:
    first, second, third = three
    go_to(underwriter, first)
    press("j")
    expect(second).to_be_focused()
    expect(second).to_be_in_viewport(ratio=1)
    second.evaluate("(row) => { row.hidden = true }")
    go_to(underwriter, first)
    press("j")
    expect(third).to_be_focused()
    press("j")  # It is the last.
    expect(third).to_be_focused()
    press("k")
    expect(first).to_be_focused()


def test_enter_opens_the_page_and_there_the_keys_press_its_buttons(
    underwriter: Page, three: list[Locator], press: Callable[[str], None]
) -> None:
    go_to(underwriter, three[1])
    press("Enter")
    expect(underwriter.locator(".request")).to_be_visible()
    expect_live(underwriter)
    press("a")
    expect(underwriter.get_by_label("Note on an approval")).to_be_focused()
    press("d")
    expect(underwriter.get_by_label("Note on an approval")).to_have_value("d")
    underwriter.get_by_label("Note on an approval").blur()
    press("d")
    expect(dialog(underwriter)).to_contain_text("Deny the request")


@pytest.mark.parametrize(
    ("key", "words"), [("a", "Approve the request"), ("d", "Deny the request"), ("e", "lead")]
)
def test_a_key_that_decides_opens_a_dialog(
    underwriter: Page, three: list[Locator], press: Callable[[str], None], key: str, words: str
) -> None:
    sent: list[str] = []
    underwriter.on("request", lambda each: sent.append(each.method))
    go_to(underwriter, three[1])
    press(key)
    expect(dialog(underwriter)).to_contain_text(words)
    assert "POST" not in sent
    press("Escape")
    expect(dialog(underwriter)).to_be_hidden()
    expect(three[1]).to_be_focused()


def test_claim_release_and_what_another_holds(
    underwriter: Page, colleague: Page, three: list[Locator], press: Callable[[str], None]
) -> None:
    mine, theirs, _ = three
    go_to(underwriter, mine)
    press("c")
    expect(mine.locator(".holder")).to_contain_text("You")
    press("h")
    expect(dialog(underwriter)).to_contain_text("Hand over")
    press("Escape")
    press("r")
    expect(mine.locator(".holder")).to_be_hidden()
    name = theirs.locator("th a").inner_text()
    row(colleague, name).get_by_role("button", name="Claim", exact=True).click()
    expect(theirs.locator(".holder")).to_contain_text("admin")
    go_to(underwriter, theirs)
    press("d")
    expect(underwriter.locator("#notices")).to_contain_text("admin holds this request.")


def test_typing_types_and_other_keys_are_the_browsers(
    underwriter: Page, three: list[Locator], press: Callable[[str], None]
) -> None:
    go_to(underwriter, three[0])
    for keys in ("Control+d", "Alt+d", "Meta+d", "x", "D"):
        press(keys)
    expect(dialog(underwriter)).to_be_hidden()
    press("d")
    underwriter.get_by_label("Note").focus()
    underwriter.keyboard.type("jackdaw? no")
    expect(underwriter.get_by_label("Note")).to_have_value("jackdaw? no")


def test_a_key_that_is_held_down_presses_once(underwriter: Page, three: list[Locator]) -> None:
    claims: list[str] = []
    underwriter.on("request", lambda each: claims.append(each.url) if "claim" in each.url else None)
    go_to(underwriter, three[0])
    for _ in range(5):
        underwriter.keyboard.down("c")
    underwriter.keyboard.up("c")
    expect(three[0].locator(".holder")).to_contain_text("You")
    assert len(claims) == 1


def test_off_means_off_and_is_kept(
    underwriter: Page, three: list[Locator], press: Callable[[str], None]
) -> None:
    press("?")
    expect(dialog(underwriter)).to_contain_text("Keys")
    assert faults(underwriter, "the keys") == []
    underwriter.get_by_role("switch").uncheck()
    underwriter.get_by_role("button", name="Close").click()
    for _ in range(2):
        go_to(underwriter, three[0])
        for key in ("j", "d", "?", "c"):
            press(key)
        expect(three[0]).to_be_focused()
        expect(dialog(underwriter)).to_be_hidden()
        underwriter.reload()
        expect_live(underwriter)
    # The button still shows them, and how to switch them on.
    underwriter.get_by_role("button", name="Keys").click()
    underwriter.get_by_role("switch").check()
    press("Escape")
    go_to(underwriter, three[0])
    press("j")
    expect(three[1]).to_be_focused()


def test_a_browser_that_keeps_nothing_has_keys_all_the_same(
    underwriter: Page, three: list[Locator], press: Callable[[str], None]
) -> None:
    underwriter.add_init_script(
        "Object.defineProperty(window, 'localStorage', {get() { throw new DOMException('no'); }})"
    )
    underwriter.reload()
    expect_live(underwriter)
    go_to(underwriter, three[0])
    press("j")
    expect(three[1]).to_be_focused()
    press("?")
    underwriter.get_by_role("switch").uncheck()
    press("Escape")
    press("k")
    expect(three[0]).not_to_be_focused()
