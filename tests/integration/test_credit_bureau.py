"""The clearing house's adapters: the HTTP one against a real server that misbehaves."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import UUID, uuid4

import pytest

from loans.credit_bureau import CreditBureauUnavailable, HttpCreditBureau, SimulatedCreditBureau
from tests.support.processes import free_port

Reply = Callable[[BaseHTTPRequestHandler], None]


class ClearingHouse(ThreadingHTTPServer):
    """Replies as it is told, one reply after the other, and keeps what it was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.replies: list[Reply] = []
        self.asked: list[dict[str, Any]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: ClearingHouse

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        key = self.headers["Idempotency-Key"]
        self.server.asked.append({"path": self.path, "key": key, "body": json.loads(body)})
        self.server.replies.pop(0)(self)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def answer(body: bytes, status: int = 200) -> Reply:
    def reply(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return reply


def hang_up(handler: BaseHTTPRequestHandler) -> None:
    handler.connection.shutdown(socket.SHUT_RDWR)


def say_nothing(handler: BaseHTTPRequestHandler) -> None:
    # Until the client, which has a time-out, hangs up.
    handler.connection.recv(1)


def stop_in_the_body(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "100")
    handler.end_headers()
    handler.wfile.write(b'{"sco')
    handler.connection.recv(1)


@pytest.fixture
def clearing_house() -> Iterator[ClearingHouse]:
    with ClearingHouse() as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        yield server
        server.shutdown()


@pytest.fixture
def bureau(clearing_house: ClearingHouse) -> HttpCreditBureau:
    return bureau_at(clearing_house.url)


def bureau_at(url: str) -> HttpCreditBureau:
    return HttpCreditBureau.at(url, connect_timeout=0.5, read_timeout=0.2, attempts=3)


def test_it_asks_with_the_key_and_the_national_id_in_the_body_alone(
    clearing_house: ClearingHouse, bureau: HttpCreditBureau
) -> None:
    clearing_house.replies = [answer(b'{"score": 7, "asked_at": "just now"}')]
    key = uuid4()

    assert bureau.score("123456aa", idempotency_key=key) == 7
    assert clearing_house.asked == [
        {"path": "/scores", "key": str(key), "body": {"national_id": "123456aa"}}
    ]


@pytest.mark.parametrize(
    "failure",
    [answer(b"", 500), answer(b"", 503), answer(b"", 429), hang_up, say_nothing, stop_in_the_body],
    ids=["500", "503", "429", "reset", "no headers", "half a body"],
)
def test_it_asks_again_with_the_same_key_after_a_failure_that_may_pass(
    failure: Reply, clearing_house: ClearingHouse, bureau: HttpCreditBureau
) -> None:
    clearing_house.replies = [failure, failure, answer(b'{"score": 3}')]
    key = uuid4()

    assert bureau.score("123456aa", idempotency_key=key) == 3
    assert [each["key"] for each in clearing_house.asked] == [str(key)] * 3


def test_it_gives_up_after_a_bounded_number_of_attempts(
    clearing_house: ClearingHouse, bureau: HttpCreditBureau
) -> None:
    clearing_house.replies = [answer(b"", 500)] * 4

    with pytest.raises(CreditBureauUnavailable):
        bureau.score("123456aa", idempotency_key=uuid4())
    assert len(clearing_house.asked) == 3


@pytest.mark.parametrize(
    "body",
    [b"", b"7", b"{}", b'{"score": 0}', b'{"score": 11}', b'{"score": 5.5}', b'{"score": "7"}',
     b'{"score": true}', b'{"score": null}', b"<html>", b"\xff"],
)  # fmt: skip
def test_an_answer_that_is_no_score_is_an_error_of_the_clearing_house(
    body: bytes, clearing_house: ClearingHouse, bureau: HttpCreditBureau
) -> None:
    clearing_house.replies = [answer(body)]
    with pytest.raises(CreditBureauUnavailable):
        bureau.score("123456aa", idempotency_key=uuid4())


def test_a_refusal_is_not_asked_again(
    clearing_house: ClearingHouse, bureau: HttpCreditBureau
) -> None:
    clearing_house.replies = [answer(b"", 400)]
    with pytest.raises(CreditBureauUnavailable):
        bureau.score("123456aa", idempotency_key=uuid4())
    assert len(clearing_house.asked) == 1


def test_a_clearing_house_that_is_not_there_is_said_to_be_unavailable() -> None:
    bureau = bureau_at(f"http://127.0.0.1:{free_port()}")
    with pytest.raises(CreditBureauUnavailable) as unavailable:
        bureau.score("123456aa", idempotency_key=uuid4())
    assert "123456aa" not in str(unavailable.value)


class TestSimulator:
    @pytest.mark.parametrize(
        ("national_id", "score"),
        [("999999aa", 9), ("666666AA", 6), ("555555aa", 5), ("111111Aa", 1)],
    )
    def test_it_knows_some_people(self, national_id: str, score: int) -> None:
        bureau = SimulatedCreditBureau(latency=0)
        assert bureau.score(national_id, idempotency_key=uuid4()) == score

    def test_everyone_else_has_a_score_from_1_to_10_that_stays_for_a_key(self) -> None:
        bureau = SimulatedCreditBureau(latency=0)
        keys = [UUID(int=number) for number in range(200)]
        scores = [bureau.score("123456aa", idempotency_key=key) for key in keys]
        assert set(scores) == set(range(1, 11))
        assert scores == [bureau.score("123456aa", idempotency_key=key) for key in keys]
