"""A headless Chromium for tests that look at pages as people do.

Not pytest-playwright's, whose event loop runs in the main thread until the last test has ended: no
test after the first with a browser could run an event loop of its own.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

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
PATIENCE_MS = 15_000


def chromium() -> str:
    """Where Chromium is installed; skips the test where it is not."""
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("Chromium is not installed: apt install chromium")
    return path


@contextmanager
def running_browser() -> Iterator[Browser]:
    """A browser, which is closed when this is left."""
    path = chromium()
    # Playwright's synchronous API runs an event loop in this thread, where Django then refuses to
    # touch the database, as the teardown of its fixtures does.
    before = os.environ.get("DJANGO_ALLOW_ASYNC_UNSAFE")
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=path, args=_ARGUMENTS)
            yield browser
            browser.close()
    finally:
        if before is None:
            del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]


@contextmanager
def running_browser_that_keeps_pages(beside: Browser) -> Iterator[Browser]:
    """A browser that keeps pages as they were left, for going back, as people's browsers do.

    Playwright's do not by default. Only one Playwright can run, so this uses that of `beside`.
    """
    browser = beside.browser_type.launch(
        executable_path=chromium(),
        args=_ARGUMENTS,
        ignore_default_args=["--disable-back-forward-cache"],
    )
    yield browser
    browser.close()


def new_page(browser: Browser, base_url: str) -> Page:
    """A page that shares no cookies with others."""
    page = browser.new_context(base_url=base_url).new_page()
    page.set_default_timeout(PATIENCE_MS)
    return page
