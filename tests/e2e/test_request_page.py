"""The page of one request, open in the browsers of two underwriters."""

from __future__ import annotations

from playwright.sync_api import Page, expect

from tests.support.api import application
from tests.support.demo import Demo
from tests.support.pages import expect_live, row, someone
from tests.support.processes import wait_until


def test_a_colleagues_note_comes_at_once_and_what_is_typed_stays(
    demo: Demo, underwriter: Page, colleague: Page
) -> None:
    name = someone()
    demo.apply(application(score=5, name=name))
    for page in (underwriter, colleague):
        row(page, name).get_by_role("link", name=name).click()
        expect_live(page)
    typed = underwriter.get_by_label("Note on an approval")
    typed.fill("A customer for ten years.")

    colleague.get_by_label("Add a note").fill("Called, <b>no</b> answer.")
    colleague.get_by_role("button", name="Add note").click()

    expect(underwriter.locator(".notes")).to_contain_text("Called, <b>no</b> answer.")
    expect(typed).to_have_value("A customer for ten years.")
    expect(typed).to_be_focused()

    underwriter.get_by_role("button", name="Approve").click()

    for page in (underwriter, colleague):
        standing = page.locator("#request-standing")
        expect(standing).to_contain_text("Approved")
        expect(standing).to_contain_text("A customer for ten years.")
        expect(page.get_by_role("button", name="Approve")).to_be_hidden()
        expect(page.get_by_role("button", name="Deny")).to_be_hidden()


def test_a_denial_is_made_in_the_dialog(demo: Demo, underwriter: Page) -> None:
    name = someone()
    demo.apply(application(score=5, name=name))
    row(underwriter, name).get_by_role("link", name=name).click()
    expect_live(underwriter)
    underwriter.get_by_role("button", name="Deny", exact=True).click()
    underwriter.get_by_label("Too much debt").check()
    underwriter.get_by_role("button", name="Deny request").click()
    expect(underwriter.get_by_role("dialog")).to_be_hidden()
    expect(underwriter.locator("#notices")).to_contain_text(f"Denied: {name}.")
    expect(underwriter.locator("#request-standing")).to_contain_text("Reasons: Too much debt")


def test_a_decision_on_an_old_screen_is_refused_and_shows_what_is_new(
    demo: Demo, underwriter: Page, colleague: Page
) -> None:
    name = someone()
    demo.apply(application(score=5, name=name))
    underwriter.route_web_socket("**/ws/**", lambda socket: socket.close())
    for page in (underwriter, colleague):
        row(page, name).get_by_role("link", name=name).click()
        expect(page.get_by_role("button", name="Approve")).to_be_visible()
    colleague.get_by_label("Add a note").fill("Wait for me.")
    colleague.get_by_role("button", name="Add note").click()
    expect(colleague.locator(".notes")).to_contain_text("Wait for me.")

    underwriter.get_by_role("button", name="Approve").click()

    expect(underwriter.locator("#notices")).to_contain_text("has changed since it was shown")
    expect(underwriter.locator(".notes")).to_contain_text("Wait for me.")
    underwriter.get_by_role("button", name="Approve").click()
    expect(underwriter.locator("#notices")).to_contain_text(f"Approved: {name}.")


def test_of_a_decided_request_stays_live(demo: Demo, underwriter: Page) -> None:
    loan = demo.apply(application(score=9))["id"]
    wait_until(lambda: demo.status_of(loan) == "approved")
    underwriter.goto(f"/underwriting/{loan}/")
    expect_live(underwriter)
    expect(underwriter.locator("#request-standing")).to_contain_text("Approved")
    expect(underwriter.locator(".claim-panel")).to_have_count(0)
