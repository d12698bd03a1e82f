"""What can be undone has not been sent: what becomes of decisions that wait in the page."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from uuid import UUID

import pytest
from playwright.sync_api import Browser, Error, Locator, Page, expect
from pytest_django import Settings

from lepret.common.event_store_client import close_event_store_client
from loans import dependencies
from loans.adapters.codec import loan_request_stream
from tests.support.accessibility import faults
from tests.support.api import application
from tests.support.browser import PATIENCE_MS, chromium
from tests.support.demo import Demo, running_demo
from tests.support.pages import expect_live, live_queue_of, row, sessions_of, someone
from tests.support.processes import descendants, wait_until

UNDO_SECONDS: Final = 5
UNDER_REVIEW, DECIDED = 2, 3  # revisions: requested, score known, passed on; then the decision


@dataclass(frozen=True)
class Asked:
    """A request that waits for a decision, and what the event store has of it."""

    id: UUID
    name: str

    @property
    def revision(self) -> int | None:
        return dependencies.event_store().load(loan_request_stream(self.id)).revision


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """One that goes by its own policy."""
    with running_demo(tmp_path_factory.mktemp("demo") / "data") as demo:
        yield demo


@pytest.fixture(scope="module")
def sessions(demo: Demo) -> dict[str, str]:
    return sessions_of(demo)


@pytest.fixture(autouse=True)
def _event_store(demo: Demo, settings: Settings) -> Iterator[None]:
    settings.EVENTSTORE_URI = demo.published["EVENTSTORE_URI"]
    dependencies.event_store.cache_clear()
    yield
    close_event_store_client()


@pytest.fixture
def ask(demo: Demo, underwriter: Page) -> Callable[[], Asked]:
    """Apply for a loan, and wait until the underwriter's list takes clicks on it."""

    def ask() -> Asked:
        asked = Asked(UUID(demo.apply(application(score=5, name=(name := someone())))["id"]), name)
        expect(row(underwriter, name)).to_have_count(1)
        expect(underwriter.locator("#queue-rows > tr[aria-disabled]")).to_have_count(0)
        return asked

    return ask


@pytest.fixture
def asked(ask: Callable[[], Asked]) -> Asked:
    return ask()


def button(page: Page, name: str, words: str = "Approve") -> Locator:
    return row(page, name).get_by_role("button", name=words, exact=True)


def waiting(page: Page) -> Locator:
    return page.locator("#notices > .notice.is-waiting:not(.is-going)")


def approve(page: Page, asked: Asked) -> None:
    button(page, asked.name).click()
    expect(waiting(page)).to_contain_text(f"Approving {asked.name} in {UNDO_SECONDS} seconds.")


def let_the_time_run_out(page: Page, ask: Callable[[], Asked]) -> None:
    """Decide on another request, and wait until that was sent: so what waited before would be."""
    other = ask()
    approve(page, other)
    expect(page.locator("#notices")).to_contain_text(f"Approved: {other.name}.")


def undo_by_button(page: Page) -> None:
    page.get_by_role("button", name="Undo").click()


def undo_by_key(key: str) -> Callable[[Page], None]:
    return lambda page: page.keyboard.press(key)


def failures_of_scripts(page: Page) -> list[Error]:
    """What will not have been caught, as it comes."""
    failures: list[Error] = []
    page.on("pageerror", lambda error: failures.append(error))  # noqa: PLW0108 (no built-in method)
    return failures


WAYS: Final = {"button": undo_by_button, "Escape": undo_by_key("Escape"), "u": undo_by_key("u")}


@pytest.mark.parametrize("undo", WAYS.values(), ids=WAYS)
def test_what_is_undone_leaves_the_stream_untouched(
    underwriter: Page, ask: Callable[[], Asked], undo: Callable[[Page], None]
) -> None:
    asked = ask()
    approve(underwriter, asked)
    expect(row(underwriter, asked.name)).to_contain_text("Approving…")
    expect(button(underwriter, asked.name)).to_be_hidden()
    expect(button(underwriter, asked.name, "Deny")).to_be_hidden()
    undo(underwriter)
    expect(waiting(underwriter)).to_have_count(0)
    expect(underwriter.locator("#notices")).to_contain_text("Nothing was sent.")
    expect(button(underwriter, asked.name)).to_be_focused()
    let_the_time_run_out(underwriter, ask)
    assert asked.revision == UNDER_REVIEW
    expect(row(underwriter, asked.name)).not_to_contain_text("Approving")


def test_what_is_not_undone_is_sent_and_is_accessible_meanwhile(
    underwriter: Page, asked: Asked
) -> None:
    approve(underwriter, asked)
    assert faults(underwriter, "while a decision waits") == []
    expect(underwriter.locator("#notices")).to_contain_text(f"Approved: {asked.name}.")
    assert asked.revision == DECIDED
    expect(row(underwriter, asked.name)).to_have_count(0)


def test_it_is_read_out_once_and_the_ticking_is_not(underwriter: Page, asked: Asked) -> None:
    underwriter.evaluate(
        """() => {
          window.changes = 0;
          const all = {childList: true, characterData: true, attributes: true, subtree: true};
          new MutationObserver((records) => { changes += records.length; })
            .observe(document.getElementById("notices"), all);
        }"""
    )
    approve(underwriter, asked)
    bar = underwriter.locator(".notice > .bar")
    before = bar.bounding_box()
    wait_until(lambda: bar.bounding_box() != before, UNDO_SECONDS)
    assert underwriter.evaluate("changes") == 1


@pytest.mark.parametrize("undo", WAYS.values(), ids=WAYS)
def test_undoing_a_denial_opens_the_dialog_as_it_was(
    underwriter: Page, ask: Callable[[], Asked], undo: Callable[[Page], None]
) -> None:
    asked = ask()
    button(underwriter, asked.name, "Deny").click()
    dialog = underwriter.get_by_role("dialog")
    # What is known to be refused does not wait.
    dialog.get_by_role("button", name="Deny request").click()
    expect(underwriter.locator("#id_reasons_error")).to_have_text("Choose one to four reasons. ")
    underwriter.get_by_label("Too much debt").check()
    underwriter.get_by_label("Note").fill("Called twice.")
    dialog.get_by_role("button", name="Deny request").click()
    expect(dialog).to_be_hidden()
    expect(row(underwriter, asked.name)).to_contain_text("Denying…")
    undo(underwriter)
    expect(dialog).to_contain_text(asked.name)
    expect(underwriter.get_by_label("Too much debt")).to_be_checked()
    expect(underwriter.get_by_label("Note")).to_have_value("Called twice.")
    assert asked.revision == UNDER_REVIEW
    dialog.get_by_role("button", name="Deny request").click()
    expect(underwriter.locator("#notices")).to_contain_text(f"Denied: {asked.name}.")
    expect(dialog).to_be_hidden()


def test_a_second_decision_and_whatever_else_is_pressed_send_the_first_at_once(
    underwriter: Page, ask: Callable[[], Asked]
) -> None:
    first, second = ask(), ask()
    approve(underwriter, first)
    approve(underwriter, second)
    expect(underwriter.locator("#notices")).to_contain_text(f"Approved: {first.name}.")
    expect(waiting(underwriter)).to_contain_text(second.name)
    assert (first.revision, second.revision) == (DECIDED, UNDER_REVIEW)
    button(underwriter, ask().name, "Deny").click()
    expect(underwriter.get_by_role("dialog")).to_be_visible()
    assert second.revision == DECIDED


def test_opening_another_request_sends_it_first(
    underwriter: Page, ask: Callable[[], Asked]
) -> None:
    first, second = ask(), ask()
    approve(underwriter, first)
    underwriter.get_by_role("link", name=second.name).click()
    expect(underwriter.get_by_role("heading", name=second.name)).to_be_visible()
    assert first.revision == DECIDED


def test_who_leaves_is_told_first_if_it_was_refused(
    demo: Demo, underwriter: Page, colleague: Page, ask: Callable[[], Asked]
) -> None:
    first, second = ask(), ask()
    approve(underwriter, first)
    approve(colleague, first)
    colleague.get_by_role("link", name=second.name).click()
    expect(colleague.get_by_role("heading", name=second.name)).to_be_visible()
    underwriter.get_by_role("link", name=second.name).click()
    expect(underwriter.locator("#notices")).to_contain_text("admin")
    assert underwriter.url == f"{demo.base_url}/underwriting/"
    expect(row(underwriter, first.name)).not_to_contain_text("Approving")


@pytest.mark.parametrize("leave", ["location.reload()", "location.href = '/accounts/'"])
def test_leaving_otherwise_has_decided_nothing(
    underwriter: Page, ask: Callable[[], Asked], leave: str
) -> None:
    asked = ask()
    approve(underwriter, asked)
    with underwriter.expect_navigation():
        underwriter.evaluate(leave)
    underwriter.goto("/underwriting/")
    expect_live(underwriter)
    let_the_time_run_out(underwriter, ask)
    assert asked.revision == UNDER_REVIEW


def test_logging_out_has_decided_nothing(
    browser: Browser, demo: Demo, underwriter: Page, ask: Callable[[], Asked]
) -> None:
    asked = ask()
    # Another session, since others of this module go on with theirs.
    for page in live_queue_of(browser, demo, sessions_of(demo)["underwriter"]):
        approve(page, asked)
        page.get_by_role("button", name="Log out").click()
        expect(page.get_by_role("heading", name="Staff login")).to_be_visible()
        let_the_time_run_out(underwriter, ask)
        assert asked.revision == UNDER_REVIEW


def test_a_session_that_ends_meanwhile_sends_nothing_and_says_so(
    browser: Browser, demo: Demo, underwriter: Page, ask: Callable[[], Asked]
) -> None:
    asked = ask()
    for page in live_queue_of(browser, demo, sessions_of(demo)["underwriter"]):
        other = page.context.new_page()
        other.goto("/accounts/")
        approve(page, asked)
        other.get_by_role("button", name="Log out").click()
        expect(page.locator("#main")).to_contain_text("was not sent")
        assert asked.name not in page.content()
        let_the_time_run_out(underwriter, ask)
        assert asked.revision == UNDER_REVIEW


def test_a_browser_that_is_killed_has_decided_nothing(
    browser: Browser,
    demo: Demo,
    sessions: dict[str, str],
    underwriter: Page,
    ask: Callable[[], Asked],
    tmp_path: Path,
) -> None:
    asked = ask()
    context = browser.browser_type.launch_persistent_context(
        tmp_path / "profile",
        executable_path=chromium(),
        args=["--no-sandbox", "--disable-gpu"],
        base_url=demo.base_url,
        timeout=PATIENCE_MS,
    )
    context.set_default_timeout(PATIENCE_MS)
    cookie = {"name": "sessionid", "value": sessions["admin"], "url": demo.base_url}
    context.add_cookies([cookie])  # type: ignore[list-item]
    page = context.new_page()
    page.goto("/underwriting/")
    expect_live(page)
    approve(page, asked)
    killed = [each for each in descendants(os.getpid()) if str(tmp_path) in each.command_line]
    assert killed != []
    for process in killed:
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
    let_the_time_run_out(underwriter, ask)
    assert asked.revision == UNDER_REVIEW
    with suppress(Error):
        context.close()


def test_what_a_colleague_does_meanwhile_has_it_refused(
    underwriter: Page, colleague: Page, asked: Asked
) -> None:
    colleague.goto(f"/underwriting/{asked.id}/")
    colleague.get_by_label("Add a note").fill("Wait for me.")
    approve(underwriter, asked)
    colleague.get_by_role("button", name="Add note").click()
    # The row is a new one, whose decision still waits.
    expect(row(underwriter, asked.name)).to_contain_text("1 note")
    expect(row(underwriter, asked.name)).to_contain_text("Approving…")
    expect(underwriter.locator("#notices")).to_contain_text("has changed since it was shown")
    expect(button(underwriter, asked.name)).to_be_visible()
    assert asked.revision == UNDER_REVIEW + 1  # the note


def test_a_dialog_knows_whom_it_is_about_when_the_row_is_gone(
    underwriter: Page, colleague: Page, asked: Asked
) -> None:
    button(underwriter, asked.name, "Deny").click()
    underwriter.get_by_label("Too much debt").check()
    approve(colleague, asked)
    # Whoever leaves by a link has sent it.
    colleague.get_by_role("link", name="Account").click()
    expect(row(underwriter, asked.name)).to_have_count(0)
    underwriter.get_by_role("button", name="Deny request").click()
    expect(waiting(underwriter)).to_contain_text(f"Denying {asked.name} in")
    expect(underwriter.locator("#notices")).to_contain_text("Already approved by admin")


def test_a_lost_network_says_so_as_ever(underwriter: Page, asked: Asked) -> None:
    underwriter.route("**/approve/", lambda route: route.abort())
    approve(underwriter, asked)
    expect(underwriter.locator("#notices")).to_contain_text("No answer came")
    expect(button(underwriter, asked.name)).to_be_visible()


@pytest.mark.parametrize("words", ["Claim", "Deny"])
def test_what_was_held_back_says_that_no_answer_came_and_no_script_fails(
    underwriter: Page, ask: Callable[[], Asked], words: str
) -> None:
    failures = failures_of_scripts(underwriter)
    first, second = ask(), ask()
    approve(underwriter, first)
    underwriter.route(f"**/{second.id}/**", lambda route: route.abort())
    button(underwriter, second.name, words).click()
    expect(underwriter.locator("#notices")).to_contain_text(f"Approved: {first.name}.")
    expect(underwriter.locator("#notices")).to_contain_text("No answer came")
    assert failures == []


def test_a_list_that_is_out_of_date_and_has_no_answer_is_live_all_the_same(
    underwriter: Page, colleague: Page, asked: Asked
) -> None:
    failures = failures_of_scripts(underwriter)
    underwriter.route("**/approve/", lambda route: route.fulfill(
        status=409, headers={"HX-Trigger-After-Swap": "outdated"}, body="<p>Too late.</p>"
    ))  # fmt: skip
    underwriter.route("**/underwriting/", lambda route: route.abort())
    approve(underwriter, asked)
    expect(underwriter.locator("#notices")).to_contain_text("Too late.")
    approve(colleague, asked)
    colleague.get_by_role("link", name="Account").click()
    expect(row(underwriter, asked.name)).to_have_count(0)
    assert failures == []


def test_a_denial_that_could_not_be_recorded_is_in_its_dialog_again(
    underwriter: Page, asked: Asked
) -> None:
    button(underwriter, asked.name, "Deny").click()
    underwriter.get_by_label("Too much debt").check()
    underwriter.route("**/deny/", lambda route: route.fulfill(status=503, body="<p>Not now.</p>"))
    underwriter.get_by_role("button", name="Deny request").click()
    expect(underwriter.get_by_role("dialog")).to_be_hidden()
    expect(underwriter.get_by_role("dialog")).to_contain_text("Not now.")
    expect(underwriter.get_by_label("Too much debt")).to_be_checked()


def test_on_the_page_of_one_request_the_note_stays(underwriter: Page, asked: Asked) -> None:
    underwriter.get_by_role("link", name=asked.name).click()
    expect_live(underwriter)
    note = underwriter.get_by_label("Note on an approval")
    note.fill("A customer\nfor ten years.")
    underwriter.get_by_role("button", name="Approve").click()
    expect(underwriter.locator(".decide")).to_contain_text("Approving…")
    expect(note).to_be_hidden()
    undo_by_button(underwriter)
    expect(note).to_have_value("A customer\nfor ten years.")
    underwriter.get_by_role("button", name="Approve").click()
    # Noting something sends it first, or it would be on an old screen.
    underwriter.get_by_label("Add a note").fill("Told her.")
    underwriter.get_by_role("button", name="Add note").click()
    standing = underwriter.locator("#request-standing")
    expect(standing).to_contain_text("Approved")
    expect(standing).to_contain_text("A customer\nfor ten years.")
    expect(underwriter.locator(".notes")).to_contain_text("Told her.")
