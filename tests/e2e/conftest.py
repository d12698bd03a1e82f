"""A browser, a demo, and people's pages."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from uuid import uuid4

import pytest
from playwright.sync_api import Browser, Page, expect
from pytest_django import Settings

from lepret.common.event_store_client import close_event_store_client
from loans import dependencies
from loans.adapters import codec
from loans.domain.events import LoanEvent
from tests.support.browser import PATIENCE_MS, new_context, running_browser
from tests.support.demo import Demo, decide_at_once, running_demo
from tests.support.pages import decide_what_waits, live_queue_of, page_of, sessions_of

Say = Callable[[LoanEvent], None]

expect.set_options(timeout=PATIENCE_MS)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running_browser() as browser:
        yield browser


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """One demo for all tests that leave it running, in which decisions are sent at once."""
    with running_demo(tmp_path_factory.mktemp("demo") / "data") as demo:
        decide_at_once(demo)
        yield demo


@pytest.fixture(scope="session")
def sessions(demo: Demo) -> dict[str, str]:
    return sessions_of(demo)


@pytest.fixture(autouse=True)
def empty_queue(request: pytest.FixtureRequest) -> Iterator[None]:
    """Decide what a test has left in the queue, once its pages are closed."""
    if "sessions" not in request.fixturenames:
        yield
        return
    demo, sessions = map(request.getfixturevalue, ("demo", "sessions"))
    yield
    # What cannot be decided, as by a system that a test has stopped, only makes later pages longer.
    with suppress(AssertionError):
        decide_what_waits(demo, sessions["admin"])


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


@pytest.fixture
def unscripted(browser: Browser, demo: Demo, sessions: dict[str, str]) -> Iterator[Page]:
    """A page of the underwriter, without JavaScript."""
    context = new_context(browser, demo.base_url, java_script_enabled=False)
    cookie = {"name": "sessionid", "value": sessions["underwriter"], "url": demo.base_url}
    context.add_cookies([cookie])  # type: ignore[list-item]
    yield context.new_page()
    context.close()


@pytest.fixture
def say(demo: Demo, settings: Settings) -> Iterator[Say]:
    """Record an event, such as an opinion where the policy asks for two, or a very short claim."""
    settings.EVENTSTORE_URI = demo.published["EVENTSTORE_URI"]
    dependencies.event_store.cache_clear()
    store = dependencies.event_store()

    def record(event: LoanEvent) -> None:
        stream = codec.loan_request_stream(event.id)
        revision = store.load(stream).revision
        store.append(stream, [event], revision=revision, command_id=uuid4(), user="test")

    yield record
    close_event_store_client()
