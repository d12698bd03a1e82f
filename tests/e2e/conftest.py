"""A browser, a demo, and people's pages."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support.browser import PATIENCE_MS, running_browser
from tests.support.demo import Demo, running_demo
from tests.support.pages import live_queue_of, page_of

expect.set_options(timeout=PATIENCE_MS)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running_browser() as browser:
        yield browser


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """One demo for all tests that leave it running."""
    with running_demo(tmp_path_factory.mktemp("demo") / "data") as demo:
        yield demo


@pytest.fixture(scope="session")
def sessions(demo: Demo) -> dict[str, str]:
    """Session cookies of two underwriters. To log in on each page would take seconds."""
    cookies = {}
    for name in ("underwriter", "admin"):
        with demo.browser(name, name) as browser:
            cookies[name] = browser.cookies["sessionid"]
    return cookies


@pytest.fixture
def page(browser: Browser, demo: Demo) -> Iterator[Page]:
    yield from page_of(browser, demo)


@pytest.fixture
def other_page(browser: Browser, demo: Demo) -> Iterator[Page]:
    yield from page_of(browser, demo)


@pytest.fixture
def applicant(browser: Browser, demo: Demo) -> Iterator[Page]:
    yield from page_of(browser, demo)


@pytest.fixture
def underwriter(browser: Browser, demo: Demo, sessions: dict[str, str]) -> Iterator[Page]:
    yield from live_queue_of(browser, demo, sessions["underwriter"])


@pytest.fixture
def colleague(browser: Browser, demo: Demo, sessions: dict[str, str]) -> Iterator[Page]:
    yield from live_queue_of(browser, demo, sessions["admin"])
