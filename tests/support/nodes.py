"""Nodes that each have a web server and a projector, as an operator would set them up."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import httpx2
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin

from readmodels.projections import PROJECTIONS
from tests.support.api import application
from tests.support.fork_server import Forked, ForkServer
from tests.support.loans import UNDER_REVIEW_AT
from tests.support.processes import PROJECT, free_port, wait_until

SECONDS: Final = 30.0

USERNAME: Final = "uma"
PASSWORD: Final = "tried-and-true-7"

# What `manage.py shell` makes an underwriter with.
UNDERWRITER: Final = f"""
from django.contrib.auth.models import Group, User
from lepret.staff.roles import UNDERWRITERS
User.objects.create_user({USERNAME!r}, password={PASSWORD!r}).groups.add(
    Group.objects.get(name=UNDERWRITERS)
)
"""


@dataclass(frozen=True)
class Applied:
    """A loan that was applied for, and the commit position that shows it."""

    loan: UUID
    position: int


class Node:
    """A web server that runs; its projector is begun and ended by the test."""

    def __init__(self, name: str, port: int, forks: ForkServer) -> None:
        self.name = name
        self.port = port
        self.base_url = f"http://127.0.0.1:{port}"
        self.forks = forks
        self._projectors = 0

    def start_projector(self) -> Forked:
        """Begin a projector."""
        self._projectors += 1
        return self.forks.start("project", name=f"{self.name}-{self._projectors}")

    def statuses(self) -> Mapping[str, Mapping[str, Any]]:
        """What `manage.py projections` says here, by projection."""
        command = self.forks.run("projections", "--json", "--max-lag", "1000")
        assert command.status == 0, command.output
        return {each["name"]: each for each in json.loads(command.output)}

    def lags(self) -> dict[str, float]:
        """How many seconds each projection is behind."""
        return {name: each["lag_seconds"] for name, each in self.statuses().items()}

    def get(self, path: str) -> httpx2.Response:
        """Ask for a page, as nobody in particular."""
        return httpx2.get(f"{self.base_url}{path}", timeout=10, trust_env=False)

    def is_ready(self) -> bool:
        """Whether `/readyz` is green."""
        try:
            return self.get("/readyz").status_code == httpx2.codes.OK
        except httpx2.TransportError:
            return False

    def apply(self) -> Applied:
        """Apply through the API for a loan that goes to an underwriter."""
        url = f"{self.base_url}/api/loan-requests"
        answer = httpx2.post(url, json=application(score=5), timeout=10, trust_env=False)
        assert answer.status_code == httpx2.codes.CREATED, answer.text
        return Applied(UUID(answer.json()["id"]), answer.json()["position"])

    def status_of(self, loan: UUID) -> str:
        """How a loan stands by the API here; empty where it is not known."""
        answer = self.get(f"/api/loan-requests/{loan}")
        return str(answer.json().get("status")) if answer.is_success else ""

    def wait_for(self, loan: UUID, status: str) -> None:
        """Until the API here says that a loan stands like that."""
        what = f"{loan} is {status} on {self.name}"
        wait_until(lambda: self.status_of(loan) == status, SECONDS, what=what)

    def wait_until_level(self) -> None:
        """Until the web server answers, and no read model is behind."""
        wait_until(self.is_ready, SECONDS, what=f"{self.name} is ready")
        level = dict.fromkeys(PROJECTIONS, 0)
        wait_until(lambda: self.lags() == level, SECONDS, what=f"{self.name} is level")

    def shows(self, loan: UUID, words: str) -> bool:
        """Whether the loan's status page says so."""
        return words in self.get(f"/loans/{loan}/").text

    @contextmanager
    def underwriter(self) -> Iterator[Underwriter]:
        """Somebody who has logged in here."""
        with httpx2.Client(base_url=self.base_url, timeout=10, trust_env=False) as browser:
            underwriter = Underwriter(self, browser)
            underwriter.log_in()
            yield underwriter


class Underwriter:
    """A browser in which an underwriter is logged in."""

    def __init__(self, node: Node, browser: httpx2.Client) -> None:
        self._node = node
        self._browser = browser

    def log_in(self) -> None:
        self._browser.get("/accounts/login/")
        answer = self._post("/accounts/login/", username=USERNAME, password=PASSWORD)
        assert answer.status_code == httpx2.codes.FOUND, answer.text

    def approve(self, loan: UUID) -> None:
        """Decide on a loan."""
        shown = str(UNDER_REVIEW_AT)
        answer = self._post(f"/underwriting/{loan}/approve/", shown_revision=shown)
        assert not answer.is_error, answer.text

    def sees(self, loan: UUID) -> bool:
        """Whether the loan is in the queue."""
        return f'<tr id="request-{loan}">' in self._browser.get("/underwriting/").text

    @contextmanager
    def queue(self) -> Iterator[ClientConnection]:
        """The websocket of the queue's page, once it has said what is in the queue."""
        with connect(
            f"ws://127.0.0.1:{self._node.port}/ws/underwriting/",
            origin=Origin(self._node.base_url),
            additional_headers={"Cookie": f"sessionid={self._browser.cookies['sessionid']}"},
            proxy=None,
            open_timeout=SECONDS,
        ) as socket:
            wait_for_frame(socket, '<div id="queue">')
            yield socket

    def _post(self, path: str, **form: str) -> httpx2.Response:
        token = self._browser.cookies["csrftoken"]
        return self._browser.post(path, data={**form, "csrfmiddlewaretoken": token})


def wait_for_frame(socket: ClientConnection, wanted: str) -> None:
    """Until a frame comes with `wanted` in it."""
    while wanted not in str(socket.recv(SECONDS)):
        pass


@contextmanager
def node(name: str, environment: Mapping[str, str], forks: ForkServer) -> Iterator[Node]:
    """A web server with these variables, which is ended when this is left."""
    port = free_port()
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "daphne", "--verbosity", "0"),
            *("-b", "127.0.0.1", "-p", str(port), "lepret.asgi:application"),
        ],
        cwd=PROJECT,
        env=dict(environment),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield Node(name, port, forks)
    finally:
        process.terminate()
        process.wait(SECONDS)
