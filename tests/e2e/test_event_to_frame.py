"""From a command over HTTP to a frame on a websocket, through every process of a real demo."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import httpx2
import pytest
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin

from tests.support.api import application
from tests.support.demo import Demo, running_demo
from tests.support.loans import UNDER_REVIEW_AT
from tests.support.processes import wait_until

SECONDS = 20.0


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    with running_demo(tmp_path_factory.mktemp("demo") / "data") as demo:
        yield demo


@pytest.fixture
def underwriter(demo: Demo) -> Iterator[httpx2.Client]:
    """A browser in which the underwriter has logged in."""
    with httpx2.Client(base_url=demo.base_url, timeout=10, trust_env=False) as browser:
        browser.get("/accounts/login/")
        answer = post(browser, "/accounts/login/", username="underwriter", password="underwriter")
        assert answer.status_code == httpx2.codes.FOUND, answer.text
        yield browser


def post(browser: httpx2.Client, path: str, **form: str) -> httpx2.Response:
    return browser.post(path, data={**form, "csrfmiddlewaretoken": browser.cookies["csrftoken"]})


def approve(browser: httpx2.Client, loan: UUID) -> None:
    shown = str(UNDER_REVIEW_AT)
    answer = post(browser, f"/underwriting/{loan}/approve/", shown_revision=shown)
    assert answer.status_code == httpx2.codes.FOUND, answer.text


def apply(demo: Demo, body: Mapping[str, Any] | None = None) -> UUID:
    """Apply through the API for a loan that goes to an underwriter."""
    body = body or application(score=5)
    url = f"{demo.base_url}/api/loan-requests"
    answer = httpx2.post(url, json=body, timeout=10, trust_env=False)
    assert answer.json()["status"] == "under_review", answer.text
    return UUID(body["id"])


@contextmanager
def websocket(
    demo: Demo, path: str, browser: httpx2.Client | None = None
) -> Iterator[ClientConnection]:
    """A page's websocket, opened as its browser does; without one by someone who is not known."""
    session = f"sessionid={browser.cookies['sessionid']}" if browser else ""
    with connect(
        f"ws://127.0.0.1:{demo.port}{path}",
        origin=Origin(demo.base_url),
        additional_headers={"Cookie": session},
        proxy=None,
        open_timeout=SECONDS,
    ) as socket:
        yield socket


def receive(socket: ClientConnection, wanted: str) -> str:
    """The first frame with `wanted` in it."""
    while True:
        frame = str(socket.recv(SECONDS))
        if wanted in frame:
            return frame


def row(loan: UUID) -> str:
    return f'<tr id="request-{loan}">'


def no_row(loan: UUID) -> str:
    return f'<tr id="request-{loan}" hx-swap-oob="delete">'


def test_a_request_appears_on_an_open_page_and_leaves_it_with_the_decision(
    demo: Demo, underwriter: httpx2.Client
) -> None:
    with websocket(demo, "/ws/underwriting/", underwriter) as queue:
        receive(queue, '<div id="queue">')

        body = application(score=5)
        loan = apply(demo, body)
        assert "Ann Example" in receive(queue, row(loan))

        with websocket(demo, f"/ws/loans/{loan}/") as applicant:
            receive(applicant, "Under review")
            approve(underwriter, loan)
            receive(queue, no_row(loan))
            assert body["national_id"] not in receive(applicant, "Approved")


def test_after_server_and_projector_were_killed_a_new_connection_shows_the_true_list(
    demo: Demo, underwriter: httpx2.Client
) -> None:
    decided, pending = apply(demo), apply(demo)
    with websocket(demo, "/ws/underwriting/", underwriter) as queue:
        receive(queue, row(pending))

        demo.kill("project")
        approve(underwriter, decided)
        new = apply(demo)
        demo.kill("web")

    wait_until(demo.is_ready, SECONDS)
    wait_until(lambda: row(new) in underwriter.get("/underwriting/").text, SECONDS)
    with websocket(demo, "/ws/underwriting/", underwriter) as queue:
        listed = receive(queue, '<div id="queue">')
    assert row(pending) in listed
    assert row(new) in listed
    assert row(decided) not in listed
