"""`manage.py apply` against a small HTTP server that stands in for the loan desk."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from io import StringIO
from itertools import islice
from socketserver import ThreadingTCPServer
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from pydantic import TypeAdapter

from loans.simulation.bureau_server import HttpReply, answer_in_json
from loans.simulation.made_up_applications import made_up_applications
from loans.web.schemas import LoanApplication
from tests.support.bureau_server import serving
from tests.support.processes import PATIENCE, free_port

STATUSES = ("approved", "denied", "under_review", "received")


class Desk(ThreadingTCPServer):
    """Keeps the bodies of the requests, and gives the answers that a test sets."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.bodies: list[dict[str, Any]] = []
        self.unavailable_at_first = 0
        self.status_at_first = 503
        self.status = 201
        self.together = threading.Barrier(1)
        self._lock = threading.Lock()

    def answer(self, body: dict[str, Any]) -> HttpReply:
        self.together.wait(PATIENCE)
        with self._lock:
            self.bodies.append(body)
            number = len(self.bodies)
        if number <= self.unavailable_at_first:
            return HttpReply(status=self.status_at_first)
        outcome = {"id": body["id"], "status": STATUSES[number % len(STATUSES)]}
        return answer_in_json(outcome, self.status)


class _Handler(BaseHTTPRequestHandler):
    server: Desk
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        HttpReply()(self)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.answer(json.loads(body))(self)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@pytest.fixture
def desk() -> Iterator[Desk]:
    with serving(Desk()) as desk:
        yield desk


def apply(desk: Desk, *arguments: str) -> str:
    output = StringIO()
    call_command("apply", "--url", desk.url, *arguments, stdout=output)
    return output.getvalue()


def summary(output: str) -> dict[str, int]:
    rows = [line.strip("│ ").split("│") for line in output.splitlines() if line.startswith("│")]
    return {name.strip(): int(number) for name, number in rows}


def test_sends_as_many_as_asked_and_sums_up_by_outcome(desk: Desk) -> None:
    output = apply(desk, "--count", "8")
    assert len(desk.bodies) == 8
    assert summary(output) == {
        "approved": 2,
        "denied": 2,
        "under review": 2,
        "received": 2,
        "failed": 0,
    }
    assert "8 applications in" in output


def test_sends_many_at_a_time(desk: Desk) -> None:
    desk.together = threading.Barrier(50)
    output = apply(desk, "--count", "50")
    assert summary(output)["failed"] == 0


def test_sends_no_faster_than_asked(desk: Desk) -> None:
    began = time.monotonic()
    apply(desk, "--count", "6", "--rate", "10")
    assert time.monotonic() - began >= 0.5


@pytest.mark.parametrize("status", [503, 429])
def test_retries_with_the_same_ids_while_the_system_is_not_available(
    desk: Desk, status: int
) -> None:
    desk.unavailable_at_first, desk.status_at_first = 3, status
    output = apply(desk, "--count", "3")
    assert summary(output)["failed"] == 0
    assert len(desk.bodies) == 6
    assert len({body["id"] for body in desk.bodies}) == 3


def test_fails_when_any_application_failed_and_says_why(desk: Desk) -> None:
    desk.status = 422
    with pytest.raises(CommandError, match=r"^2 failed: HTTP 422 \(2\)$"):
        apply(desk, "--count", "2")
    assert len(desk.bodies) == 2  # sending the same again would not help


def test_says_in_one_line_that_nothing_answers() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(CommandError, match=rf"^Nothing answers at {url} \(ConnectError\)"):
        call_command("apply", "--url", url)


def test_sends_the_same_for_the_same_seed_and_others_without_one(desk: Desk) -> None:
    for arguments in (["--seed", "7"], ["--seed", "7"], ["--seed", "8"], [], []):
        apply(desk, "--count", "5", *arguments)
    runs = [desk.bodies[start : start + 5] for start in range(0, 25, 5)]
    first, again, *others = [sorted(run, key=lambda body: str(body["id"])) for run in runs]
    assert first == again
    assert all(first != other for other in others)
    assert others[1] != others[2]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("--count", "0"), "'0' is not a whole number from 1 up"),
        (("--count", "many"), "'many' is not a whole number"),
        (("--rate", "0"), "'0' is not a number above 0"),
        (("--rate", "-1"), "'-1' is not a number above 0"),
        (("--rate", "nan"), "'nan' is not a number above 0"),
        (("--seed", "x"), "invalid int value: 'x'"),
        (("--url", "localhost:8000"), "'localhost:8000' is not an address"),
    ],
)
def test_says_what_is_wrong_with_an_argument(
    desk: Desk, arguments: tuple[str, ...], problem: str
) -> None:
    with pytest.raises(CommandError, match=problem):
        apply(desk, *arguments)
    assert desk.bodies == []


def test_no_two_made_up_applications_have_the_same_national_id() -> None:
    many = 100_000  # of 676 million national IDs: enough for some to come up twice
    national_ids = {each.national_id for each in islice(made_up_applications(seed=1), many)}
    assert len(national_ids) == many


def test_made_up_applications_are_valid_and_varied() -> None:
    made_up = list(islice(made_up_applications(seed=1), 1000))
    read = TypeAdapter(LoanApplication)
    for application in made_up:
        read.validate_python(application.as_json())
    assert len({application.id for application in made_up}) == 1000
    assert {bool(application.address) for application in made_up} == {True, False}
