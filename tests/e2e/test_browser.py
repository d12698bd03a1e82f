"""From the form to the decision: real processes, and a real browser with several people's pages."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from tests.support.browser import new_context
from tests.support.demo import Demo
from tests.support.pages import (
    apply,
    deny,
    expect_live,
    fill_in,
    log_in,
    page_of,
    row,
    send,
    someone,
    status,
    watch_connection,
)
from tests.support.processes import wait_until


@pytest.mark.parametrize(
    ("national_id", "outcome"),
    [("999999aa", "Approved"), ("111111aa", "Denied"), ("555555aa", "Under review")],
)
def test_an_applicant_sees_the_outcome_without_a_reload(
    applicant: Page, national_id: str, outcome: str
) -> None:
    apply(applicant, someone(), national_id)
    expect(status(applicant)).to_have_text(outcome)
    assert national_id not in applicant.content()


def test_errors_appear_when_a_field_is_left_and_go_as_soon_as_it_is_right(applicant: Page) -> None:
    applicant.goto("/")
    national_id = applicant.get_by_label("National ID")

    national_id.press_sequentially("12345")
    national_id.press("Tab")
    expect(applicant.locator("#id_national_id_error")).to_contain_text("six digits")
    expect(national_id).to_have_attribute("aria-invalid", "true")
    expect(applicant.locator("#id_name_error")).to_be_empty()

    national_id.press("End")
    national_id.press_sequentially("6aa")
    expect(applicant.locator("#id_national_id_error")).to_be_empty()
    expect(national_id).to_have_attribute("aria-invalid", "false")
    expect(national_id).to_be_focused()


def test_nothing_is_announced_until_a_field_is_left_with_an_error(applicant: Page) -> None:
    applicant.goto("/")
    applicant.evaluate(
        """() => {
          window.announced = [];
          const live = "[aria-live], [role=alert], [role=status]";
          new MutationObserver((changes) => {
            for (const { target, addedNodes } of changes) {
              const at = target.closest?.(live) ?? target.parentElement?.closest(live);
              const isNew = [...addedNodes].some((each) => each.matches?.(live));
              if (at || isNew) announced.push((at ?? target).textContent.trim());
            }
          }).observe(document, { childList: true, characterData: true, subtree: true });
        }"""
    )
    # Slower than any delay of the page, so that each key could be answered.
    applicant.get_by_label("National ID").press_sequentially("851458fn", delay=600)
    with applicant.expect_response(re.compile("/validate/")):
        applicant.keyboard.press("Tab")
    amount = applicant.get_by_label("Amount")
    amount.press_sequentially("10.5", delay=600)
    assert applicant.evaluate("announced") == []

    amount.press("Tab")
    expect(applicant.locator("#id_amount_error")).to_contain_text("Whole British pounds only")
    amount.focus()
    with applicant.expect_response(re.compile("/validate/")):
        amount.press("Tab")
    assert applicant.evaluate("announced") == ["Whole British pounds only, such as £10,000."]


def test_while_it_waits_the_button_says_so_and_is_disabled(applicant: Page) -> None:
    applicant.goto("/")
    # No answer comes while the test looks at the button.
    held: list[Route] = []
    applicant.route("**/", lambda route: held.append(route))  # noqa: PLW0108 (not a built-in)
    fill_in(applicant, someone(), "999999aa")
    send(applicant)

    button = applicant.get_by_role("button", name="Requesting…")
    expect(button).to_be_visible()
    expect(button).to_be_disabled()
    held[0].abort()


def test_a_form_with_errors_keeps_what_was_typed(applicant: Page) -> None:
    apply(applicant, someone(), national_id="12", amount="1e3")
    expect(applicant.locator("#id_amount_error")).to_contain_text("whole number")
    expect(applicant.get_by_label("Amount")).to_have_value("1e3")
    expect(applicant.get_by_label("National ID")).to_be_focused()


def test_a_denial_reaches_both_underwriters_and_the_applicant(
    applicant: Page, underwriter: Page, colleague: Page
) -> None:
    name = someone()
    apply(applicant, name)
    for page in (underwriter, colleague):
        expect(row(page, name)).to_contain_text("5,000")

    deny(underwriter, name)

    for page in (underwriter, colleague):
        expect(row(page, name)).to_have_count(0)
    expect(status(applicant)).to_have_text("Denied")
    expect(applicant.locator("#loan-status")).to_contain_text("You owe too much already")
    expect(underwriter.locator("#notices")).to_contain_text(f"Denied: {name}.")
    expect(underwriter.get_by_role("dialog")).to_be_hidden()
    for page in (underwriter, colleague):
        page.reload()
        expect_live(page)
        expect(row(page, name)).to_have_count(0)


def test_an_approval_reaches_the_applicant(applicant: Page, underwriter: Page) -> None:
    name = someone()
    apply(applicant, name)
    row(underwriter, name).get_by_role("button", name="Approve", exact=True).click()
    expect(status(applicant)).to_have_text("Approved")
    expect(underwriter.locator("#notices")).to_contain_text(f"Approved: {name}.")


def test_of_two_underwriters_at_the_same_moment_one_decides(
    applicant: Page, underwriter: Page, colleague: Page
) -> None:
    name = someone()
    apply(applicant, name)
    # Both have the dialog open before either decides, so that neither loses the row first.
    for page in (underwriter, colleague):
        row(page, name).get_by_role("button", name="Deny", exact=True).click()
        page.get_by_label("Too much debt").check()
    underwriter.get_by_role("button", name="Deny request").click()
    expect(status(applicant)).to_have_text("Denied")
    colleague.get_by_role("button", name="Deny request").click()

    expect(colleague.locator("#notices")).to_contain_text("Already denied by underwriter on")
    expect(colleague.get_by_role("dialog")).to_be_hidden()


def test_it_works_with_the_keyboard_alone(applicant: Page, underwriter: Page) -> None:
    name = someone()
    apply(applicant, name)
    deny_button = row(underwriter, name).get_by_role("button", name="Deny", exact=True)
    deny_button.focus()
    underwriter.keyboard.press("Enter")
    expect(underwriter.get_by_role("checkbox").first).to_be_focused()
    underwriter.keyboard.press("Escape")
    expect(underwriter.get_by_role("dialog")).to_be_hidden()
    expect(row(underwriter, name)).to_have_count(1)


def test_pages_say_that_the_connection_is_lost_and_catch_up_when_it_is_back(
    demo: Demo, applicant: Page, underwriter: Page
) -> None:
    name, later = someone(), someone()
    apply(applicant, name)
    expect(row(underwriter, name)).to_have_count(1)
    watch_connection(underwriter)
    web = demo.kill("web")
    wait_until(lambda: demo.pid_of("web") not in (None, web))
    wait_until(demo.is_ready)
    apply(applicant, later)

    expect(row(underwriter, later)).to_have_count(1)
    expect(row(underwriter, name)).to_have_count(1)
    expect_live(underwriter)
    assert underwriter.evaluate("states")[:1] == ["lost"]


def test_a_request_made_while_the_projector_is_down_appears_when_it_is_back(
    demo: Demo, applicant: Page, underwriter: Page
) -> None:
    name = someone()
    demo.kill("project")
    apply(applicant, name)
    expect(row(underwriter, name)).to_have_count(1)
    expect(status(applicant)).to_have_text("Under review")


def test_the_back_office_reads_a_loans_history(
    browser: Browser, demo: Demo, applicant: Page
) -> None:
    name = someone()
    apply(applicant, name)
    expect(status(applicant)).to_have_text("Under review")
    for clerk in page_of(browser, demo):
        clerk.goto("/admin/readmodels/loanrequest/")
        log_in(clerk, "clerk")
        clerk.get_by_role("link", name=name).click()
        for event in ("LoanRequested", "CreditChecked", "ManualReviewRequired"):
            expect(clerk.get_by_role("cell", name=event, exact=True)).to_be_visible()


def test_without_javascript_people_can_apply_and_decide(browser: Browser, demo: Demo) -> None:
    name = someone()
    context = new_context(browser, demo.base_url, java_script_enabled=False)
    applicant, page = context.new_page(), context.new_page()
    apply(applicant, name, national_id="666666aa")
    expect(applicant).to_have_url(re.compile("/loans/"))
    page.goto("/underwriting/")
    log_in(page, "underwriter")
    # It can be reloaded only once it has loaded.
    expect(page).to_have_url(f"{demo.base_url}/underwriting/")
    wait_until(lambda: bool(page.goto("/underwriting/")) and row(page, name).count() == 1)
    deny(page, name)
    expect(page.locator("#notices")).to_contain_text(f"Denied: {name}.")
    expect(status(applicant)).to_have_text("Denied")  # the page reloads by itself
    expect(applicant.locator(".time-line li")).to_have_count(4)
    context.close()
