"""An applicant who comes back: in a second tab, in another browser, by a reload."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support.api import somebody
from tests.support.demo import Demo
from tests.support.pages import apply, fill_in, page_of, send, someone, status
from tests.support.processes import wait_until

NUMBER = re.compile("[0-9A-Z]{4}-[0-9A-Z]{4}-[0-9A-Z]{4}")
# What the button lets through in the moment when it appears, in the page's `letThrough`.
WATCH_ARRIVAL = """
new MutationObserver(() => {
  const button = document.querySelector("button[name=again]");
  if (button) window.letThrough ??= getComputedStyle(button).pointerEvents;
}).observe(document, { childList: true, subtree: true })
"""


def test_a_second_tab_asks_before_it_makes_a_second_loan(applicant: Page) -> None:
    name, second = someone(), applicant.context.new_page()
    for page in (applicant, second):
        page.goto("/")
        fill_in(page, name, "999999aa")
    send(applicant)
    expect(status(applicant)).to_have_text("Approved")
    second.evaluate(WATCH_ARRIVAL)

    send(second)

    asks = second.get_by_role("alert").filter(has_text="Do you want another loan")
    expect(asks).to_contain_text("your loan of £5,000 was approved on")
    expect(asks.get_by_role("link", name="See that request")).to_be_focused()
    assert second.evaluate("letThrough") == "none"
    # Enter in a field is no yes.
    with second.expect_response("**/") as answer:
        second.get_by_label("Amount").press("Enter")
    assert answer.value.status == 409
    second.get_by_role("button", name="Apply again all the same").click()
    expect(status(second)).to_have_text("Approved")
    assert second.url != applicant.url


def test_a_request_is_found_by_its_number_in_another_browser(
    applicant: Page, browser: Browser, demo: Demo
) -> None:
    name = someone()
    national_id = apply(applicant, name, somebody())
    number = applicant.locator(".request-number").inner_text()
    assert NUMBER.fullmatch(number)
    with demo.browser("clerk", "clerk") as clerk:
        rows = f"/admin/readmodels/loanrequest/?q={national_id}"
        wait_until(lambda: name in clerk.get(rows).text)
    for elsewhere in page_of(browser, demo):
        elsewhere.goto("/")
        elsewhere.get_by_role("link", name="Find my request").click()
        elsewhere.get_by_label("Number").fill(number.replace("-", " ").lower())
        elsewhere.get_by_label("National ID").fill("000000xx")
        elsewhere.get_by_role("button", name="Find request").click()
        expect(elsewhere.get_by_role("alert").first).to_contain_text("There is no request with")
        elsewhere.get_by_label("National ID").fill(national_id)
        elsewhere.get_by_role("button", name="Find request").click()
        expect(status(elsewhere)).to_be_visible()
        assert elsewhere.url == applicant.url


@pytest.mark.parametrize("path", ["/?next=%2F&after=5#id_name", "/find/?after=5"])
def test_what_a_page_has_waited_for_goes_from_its_address(applicant: Page, path: str) -> None:
    applicant.goto(path)
    expect(applicant).not_to_have_url(re.compile("after"))
    rest = path.replace("&after=5", "").replace("?after=5", "")
    expect(applicant).to_have_url(re.compile(re.escape(rest) + "$"))


def test_a_reload_of_a_status_page_does_not_wait_again(applicant: Page) -> None:
    apply(applicant, someone(), "111111aa")
    expect(status(applicant)).to_have_text("Denied")
    expect(applicant).to_have_url(re.compile(r"/loans/[0-9a-f-]{36}/$"))
    with applicant.expect_request("**/loans/**") as request:
        applicant.reload()
    assert "after" not in request.value.url
