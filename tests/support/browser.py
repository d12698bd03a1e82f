"""A headless Chromium for tests that look at pages as people do.

Not pytest-playwright's, whose event loop runs in the main thread until the last test has ended:
meanwhile no other test can run an event loop.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

import pytest
from playwright.sync_api import Browser, BrowserContext, Error, Page, sync_playwright

from tests.support.processes import PATIENCE, descendants

# No requests but those of the tests, and no sandbox, since root cannot have one.
_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE_MS: Final = 1000 * PATIENCE

_WITH_WINDOWS = ("chromium", "chromium-browser")


def chromium(*names: str) -> str:
    """The path of Chromium; skips the test if it is not installed.

    Where there is one without windows, that one: its pages cost a seventh of the processor's time.
    """
    for name in names or ("chromium-headless-shell", *_WITH_WINDOWS):
        if path := shutil.which(name):
            return path
    pytest.skip("Chromium is not installed: apt install chromium")


@contextmanager
def running_browser() -> Iterator[Browser]:
    """A browser, closed at the end of the block."""
    path = chromium()
    # Playwright's synchronous API runs an event loop in this thread, where Django then refuses to
    # touch the database, as the teardown of its fixtures does.
    before = os.environ.get("DJANGO_ALLOW_ASYNC_UNSAFE")
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=path, args=_ARGUMENTS, timeout=PATIENCE_MS
            )
            yield browser
            browser.close()
    finally:
        if before is None:
            del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]


@contextmanager
def running_browser_with_back_forward_cache(beside: Browser) -> Iterator[Browser]:
    """A browser with a back/forward cache, which people's browsers have and Playwright disables.

    The one without windows has none. Only one Playwright can run, so this uses that of `beside`.
    """
    browser = beside.browser_type.launch(
        executable_path=chromium(*_WITH_WINDOWS),
        args=_ARGUMENTS,
        ignore_default_args=["--disable-back-forward-cache"],
        timeout=PATIENCE_MS,
    )
    yield browser
    browser.close()


def new_context(browser: Browser, base_url: str, **options: Any) -> BrowserContext:
    """A context whose pages wait patiently; the options are those of Playwright's."""
    context = browser.new_context(base_url=base_url, **options)
    context.set_default_timeout(PATIENCE_MS)
    return context


def new_page(browser: Browser, base_url: str) -> Page:
    """A page that shares no cookies with others."""
    return new_context(browser, base_url).new_page()


@contextmanager
def browser_to_kill(beside: Browser) -> Iterator[tuple[Browser, list[int]]]:
    """Another browser, with the numbers of its processes. It may be dead at the end."""
    before = {each.pid for each in descendants(os.getpid())}
    browser = beside.browser_type.launch(
        executable_path=chromium(), args=_ARGUMENTS, timeout=PATIENCE_MS
    )
    yield browser, [each.pid for each in descendants(os.getpid()) if each.pid not in before]
    with suppress(Error):
        browser.close()


def kill(processes: Iterable[int]) -> None:
    """Kill what may have ended already."""
    for each in processes:
        with suppress(ProcessLookupError):
            os.kill(each, signal.SIGKILL)
