"""A browser, a demo for it, and the pages of people."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support.browser import PATIENCE_MS, running_browser
from tests.support.demo import Demo, running_demo
from tests.support.pages import expect_live, open_queue, page_of

expect.set_options(timeout=PATIENCE_MS)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running_browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def demo(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    # After the browser: without one there is nothing to start a demo for.
    with running_demo(tmp_path_factory.mktemp("demo")) as demo:
        yield demo


@pytest.fixture
def applicant(browser: Browser, demo: Demo) -> Iterator[Page]:
    yield from page_of(browser, demo)


@pytest.fixture
def underwriter(browser: Browser, demo: Demo) -> Iterator[Page]:
    for page in page_of(browser, demo):
        open_queue(page)
        expect_live(page)
        yield page


@pytest.fixture
def colleague(browser: Browser, demo: Demo) -> Iterator[Page]:
    for page in page_of(browser, demo):
        open_queue(page)
        expect_live(page)
        yield page
