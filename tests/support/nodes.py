"""Nodes that each have a web server and a projector, as an operator would set them up."""

from __future__ import annotations

import functools
import itertools
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import httpx2
from websockets.sync.client import ClientConnection

from readmodels.projections import PROJECTIONS
from tests.support.api import application
from tests.support.fork_server import Forked, ForkServer
from tests.support.loans import UNDER_REVIEW_AT
from tests.support.processes import PROJECT, wait_until
from tests.support.web_servers import WebServer, post, row, running_daphne, wait_for_frame

USERNAME: Final = "uma"
PASSWORD: Final = "tried-and-true-7"

# Makes an underwriter, in `manage.py shell`.
UNDERWRITER: Final = f"""
from django.contrib.auth.models import Group, User
from lepret.staff.roles import UNDERWRITERS
User.objects.create_user({USERNAME!r}, password={PASSWORD!r}).groups.add(
    Group.objects.get(name=UNDERWRITERS)
)
"""


@dataclass(frozen=True)
class Applied:
    """A loan that was applied for, and the commit position of the application."""

    loan: UUID
    position: int


@dataclass(frozen=True)
class Node(WebServer):
    """A running web server, and a projector that tests start and stop."""

    name: str
    forks: ForkServer
    _numbers: Iterator[int] = field(default_factory=functools.partial(itertools.count, 1))

    def start_projector(self) -> Forked:
        return self.forks.start("project", name=f"{self.name}-{next(self._numbers)}")

    def statuses(self) -> Mapping[str, Mapping[str, Any]]:
        """What `manage.py projections` says here, by projection."""
        command = self.forks.run("projections", "--json", "--max-lag", "1000")
        assert command.status == 0, command.output
        return {each["name"]: each for each in json.loads(command.output)}

    def lags(self) -> dict[str, float]:
        """How many seconds each projection is behind."""
        return {name: each["lag_seconds"] for name, each in self.statuses().items()}

    def apply_for_review(self) -> Applied:
        """Apply through the API for a loan that goes to an underwriter."""
        answer = self.apply(application(score=5))
        return Applied(UUID(answer["id"]), answer["position"])

    def wait_for(self, loan: UUID, status: str) -> None:
        """Wait until the API of this node says that a loan has this status."""
        what = f"{loan} is {status} on {self.name}"
        wait_until(lambda: self.status_of(loan) == status, what=what)

    def wait_until_level(self) -> None:
        """Wait until the web server answers, and no read model is behind."""
        wait_until(self.is_ready, what=f"{self.name} is ready")
        level = dict.fromkeys(PROJECTIONS, 0)
        wait_until(lambda: self.lags() == level, what=f"{self.name} is level")

    def shows(self, loan: UUID, words: str) -> bool:
        """Whether the loan's status page has these words."""
        return words in self.get(f"/loans/{loan}/").text

    @contextmanager
    def underwriter(self) -> Iterator[Underwriter]:
        """An underwriter who has logged in here."""
        with self.browser(USERNAME, PASSWORD) as browser:
            yield Underwriter(self, browser)


@dataclass(frozen=True)
class Underwriter:
    """An underwriter at a web server, with a browser in which they are logged in."""

    web: WebServer
    browser: httpx2.Client

    def approve(self, loan: UUID) -> None:
        """Approve a loan."""
        shown = str(UNDER_REVIEW_AT)
        answer = post(self.browser, f"/underwriting/{loan}/approve/", shown_revision=shown)
        assert answer.status_code == httpx2.codes.FOUND, answer.text

    def sees(self, loan: UUID) -> bool:
        """Whether the loan is in the queue."""
        # However many wait: the page is first loaded with a few.
        return row(loan) in self.browser.get("/underwriting/?all=1").text

    @contextmanager
    def queue(self) -> Iterator[ClientConnection]:
        """The websocket of the queue's page, once it has sent what is in the queue."""
        with self.web.websocket("/ws/underwriting/", self.browser) as socket:
            wait_for_frame(socket, '<div id="queue">')
            yield socket


@contextmanager
def node(
    name: str, environment: Mapping[str, str], forks: ForkServer, project: Path = PROJECT
) -> Iterator[Node]:
    """Run a web server with these variables while the block runs."""
    with running_daphne(environment, project=project) as web:
        yield Node(web.port, name, forks)
