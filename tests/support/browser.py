"""A headless Chromium for tests that look at pages as people do.

Not pytest-playwright's, whose event loop would run in this thread until the last test has ended, so
that none after the first in a browser could run a loop of its own.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

# Nothing but the test's own pages: no look-ups of updates, and no sandbox, which root cannot have.
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
    """A browser, gone when this is left."""
    path = chromium()
    # Playwright's synchronous API runs an event loop in this thread, in which Django then refuses
    # to touch the database; its fixtures' teardown does so with good reason.
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
    """A browser that keeps pages as they were left for who goes back, as people's do.

    Playwright's do not. There can be only one Playwright, so this is one more browser of its.
    """
    browser = beside.browser_type.launch(
        executable_path=chromium(),
        args=_ARGUMENTS,
        ignore_default_args=["--disable-back-forward-cache"],
    )
    yield browser
    browser.close()


def new_page(browser: Browser, base_url: str) -> Page:
    """A page of someone's own: no cookies shared with others."""
    page = browser.new_context(base_url=base_url).new_page()
    page.set_default_timeout(PATIENCE_MS)
    return page
