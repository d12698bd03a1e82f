"""`manage.py apply` against a small HTTP server that stands in for the loan desk."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import StringIO
from itertools import islice
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from pydantic import TypeAdapter

from loans.simulation.made_up_applications import made_up_applications
from loans.web.api import LoanApplication
from tests.support.processes import free_port

SECONDS = 10.0
STATUSES = ("approved", "denied", "under_review", "received")


@dataclass
class Desk:
    """Keeps the bodies of the requests, and answers what a test sets."""

    port: int
    bodies: list[dict[str, Any]] = field(default_factory=list)
    unavailable_at_first: int = 0
    status_at_first: int = 503
    status: int = 201
    together: threading.Barrier = field(default_factory=lambda: threading.Barrier(1))
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def answer(self, body: dict[str, Any]) -> tuple[int, dict[str, str]]:
        self.together.wait(SECONDS)
        with self.lock:
            self.bodies.append(body)
            number = len(self.bodies)
        if number <= self.unavailable_at_first:
            return self.status_at_first, {}
        return self.status, {"id": body["id"], "status": STATUSES[number % len(STATUSES)]}


@pytest.fixture
def desk() -> Iterator[Desk]:
    with _server() as desk:
        yield desk


@contextlib.contextmanager
def _server() -> Iterator[Desk]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._send(200, {})

        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            self._send(*stand_in.answer(json.loads(self.rfile.read(length))))

        def _send(self, status: int, body: dict[str, str]) -> None:
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

    class Server(ThreadingHTTPServer):
        request_queue_size = 128
        daemon_threads = True

    with Server(("127.0.0.1", 0), Handler) as server:
        stand_in = Desk(port=server.server_address[1])
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield stand_in
        server.shutdown()
        thread.join()


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
def test_tries_again_with_the_same_ids_when_the_system_is_not_available(
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


def test_says_in_one_line_that_nobody_is_there() -> None:
    desk = Desk(port=free_port())
    with pytest.raises(CommandError, match=rf"^Nothing answers at {desk.url} \(ConnectError\)"):
        apply(desk)


def test_sends_the_same_for_the_same_seed_and_others_for_none(desk: Desk) -> None:
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


def test_nobody_whom_it_makes_up_applies_twice() -> None:
    many = 100_000  # of 676 million national IDs: enough for some to come up twice
    national_ids = {each.national_id for each in islice(made_up_applications(seed=1), many)}
    assert len(national_ids) == many


def test_what_it_makes_up_is_valid_and_varied() -> None:
    made_up = list(islice(made_up_applications(seed=1), 1000))
    read = TypeAdapter(LoanApplication)
    for application in made_up:
        read.validate_python(application.as_json())
    assert len({application.id for application in made_up}) == 1000
    assert {bool(application.address) for application in made_up} == {True, False}
