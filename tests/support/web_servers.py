"""Web servers in processes of their own, as browsers and callers of the API see them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import httpx2
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin

from tests.support.processes import PATIENCE, PROJECT, free_port


@dataclass(frozen=True)
class WebServer:
    """A web server at a port of this machine."""

    port: int

    @property
    def base_url(self) -> str:
        """Its address, without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"

    def get(self, path: str) -> httpx2.Response:
        """Get a page, without being logged in."""
        return httpx2.get(f"{self.base_url}{path}", timeout=PATIENCE, trust_env=False)

    def is_alive(self) -> bool:
        """Whether it answers."""
        try:
            return self.get("/healthz").is_success
        except httpx2.TransportError:
            return False

    def is_ready(self) -> bool:
        """Whether `/readyz` answers 200."""
        try:
            return self.get("/readyz").status_code == httpx2.codes.OK
        except httpx2.TransportError:
            return False

    def try_to_apply(self, body: Mapping[str, Any]) -> httpx2.Response:
        """Apply for a loan through the API, whatever it answers."""
        url = f"{self.base_url}/api/loan-requests"
        return httpx2.post(url, json=body, timeout=PATIENCE, trust_env=False)

    def apply(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Apply for a loan through the API; returns its answer."""
        answer = self.try_to_apply(body)
        assert answer.status_code == httpx2.codes.CREATED, answer.text
        document: dict[str, Any] = answer.json()
        return document

    def status_of(self, loan: object) -> str:
        """The status of a loan in the API; empty if the loan is unknown."""
        answer = self.get(f"/api/loan-requests/{loan}")
        return str(answer.json().get("status")) if answer.is_success else ""

    @contextmanager
    def browser(self, username: str, password: str) -> Iterator[httpx2.Client]:
        """A browser in which this user has logged in."""
        with httpx2.Client(base_url=self.base_url, timeout=PATIENCE, trust_env=False) as browser:
            browser.get("/accounts/login/")
            answer = post(browser, "/accounts/login/", username=username, password=password)
            assert answer.status_code == httpx2.codes.FOUND, answer.text
            yield browser

    @contextmanager
    def websocket(
        self, path: str, browser: httpx2.Client | None = None
    ) -> Iterator[ClientConnection]:
        """A page's websocket, opened in this browser or, without one, by somebody anonymous."""
        session = f"sessionid={browser.cookies['sessionid']}" if browser else ""
        with connect(
            f"ws://127.0.0.1:{self.port}{path}",
            origin=Origin(self.base_url),
            additional_headers={"Cookie": session},
            proxy=None,
            open_timeout=PATIENCE,
        ) as socket:
            yield socket


def post(browser: httpx2.Client, path: str, **form: str) -> httpx2.Response:
    """Send a form."""
    return browser.post(path, data={**form, "csrfmiddlewaretoken": browser.cookies["csrftoken"]})


def wait_for_frame(socket: ClientConnection, wanted: str) -> str:
    """Wait for the first frame that contains `wanted`, and return it."""
    while True:
        frame = str(socket.recv(PATIENCE))
        if wanted in frame:
            return frame


def row(loan: UUID) -> str:
    """How a frame adds a loan to the queue."""
    return f'<tr id="request-{loan}" data-'


def no_row(loan: UUID) -> str:
    """How a frame takes a loan out of the queue."""
    return f'<tr id="request-{loan}" hx-swap-oob="delete">'


@dataclass(frozen=True)
class Daphne(WebServer):
    """A web server of its own, with its process id."""

    pid: int


DAPHNE: Final = ("daphne", "--verbosity", "0", "-b", "127.0.0.1", "-p", "{port}")


@contextmanager
def running_daphne(
    environment: Mapping[str, str],
    application: str = "lepret.asgi:application",
    project: Path = PROJECT,
    module: Sequence[str] = DAPHNE,
) -> Iterator[Daphne]:
    """A web server with these variables, just started; it is ended at the end of the block.

    `module` and its arguments may be those of another server, which is given the application last.
    """
    port = free_port()
    started = [each.format(port=port) for each in module]
    process = subprocess.Popen(
        [sys.executable, "-m", *started, application],
        cwd=project,
        env=dict(environment),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield Daphne(port, process.pid)
    finally:
        process.terminate()
        process.wait(PATIENCE)
