"""The credit bureau's adapters: the HTTP one against real servers that misbehave."""

from __future__ import annotations

import itertools
import json
import socket
import struct
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid4

import pytest
import stamina

from loans.adapters.credit_bureau import (
    KNOWN_SCORES,
    CreditBureau,
    CreditBureauUnavailable,
    SimulatedCreditBureau,
    simulated_score,
)
from loans.adapters.http_credit_bureau import CallPolicy, HttpCreditBureau
from tests.support.clearing_house import running_clearing_house
from tests.support.processes import free_port, wait_until

Reply = Callable[[BaseHTTPRequestHandler], None]

SOMEONE: Final = "123456aa"
SECONDS: Final = 10.0
POLICY: Final = CallPolicy(
    connect_timeout=5.0, read_timeout=5.0, deadline=15.0, attempts=3, failures=1000, pause=60.0
)


class ClearingHouse(ThreadingHTTPServer):
    """Replies as it is told, one reply after the other, and keeps what it was asked."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.replies: Iterator[Reply] = iter([])
        self.asked: list[dict[str, Any]] = []
        self.connections = 0
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def keys(self) -> list[str]:
        return [each["key"] for each in self.asked]

    def will(self, *replies: Reply) -> None:
        """Reply so, and in the last way for ever."""
        self.replies = itertools.chain(replies, itertools.repeat(replies[-1]))

    def get_request(self) -> Any:
        self.connections += 1
        return super().get_request()

    def handle_error(self, *_: object) -> None:
        """Say nothing of clients that hang up."""


class _Handler(BaseHTTPRequestHandler):
    server: ClearingHouse
    protocol_version = "HTTP/1.1"
    timeout = SECONDS

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        key = self.headers["Idempotency-Key"]
        with self.server.lock:
            self.server.asked.append({"path": self.path, "key": key, "body": json.loads(body)})
            reply = next(self.server.replies)
        reply(self)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def answer(
    body: bytes = b"", status: int = 200, content_type: str = "application/json", **headers: str
) -> Reply:
    def reply(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.send_header("Content-Type", content_type)
        handler.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body)

    return reply


def scored(score: int) -> Reply:
    return answer(json.dumps({"score": score}).encode())


def hang_up(handler: BaseHTTPRequestHandler) -> None:
    handler.close_connection = True


def reset(handler: BaseHTTPRequestHandler) -> None:
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.close_connection = True


def say_nothing(handler: BaseHTTPRequestHandler) -> None:
    handler.close_connection = True
    handler.connection.recv(1)  # Until the client, which has a time-out, hangs up.


def half_a_body_and_then(do: Reply) -> Reply:
    def reply(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", "100")
        handler.end_headers()
        handler.wfile.write(b'{"sco')
        do(handler)

    return reply


def _trickle(handler: BaseHTTPRequestHandler, piece: bytes) -> None:
    handler.close_connection = True
    while True:  # Until the client hangs up.
        handler.wfile.write(piece)
        handler.connection.settimeout(0.05)
        with suppress(TimeoutError):
            if not handler.connection.recv(1):
                return


def trickle_headers(handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
    _trickle(handler, b"x")


def trickle_the_body(handler: BaseHTTPRequestHandler) -> None:
    _trickle(handler, b" ")


def not_http(handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"What do you want of 123456aa?\r\n\r\n")
    handler.close_connection = True


@pytest.fixture
def clearing_house() -> Iterator[ClearingHouse]:
    with ClearingHouse() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server
        server.shutdown()


@contextmanager
def asking(url: str, **changes: Any) -> Iterator[HttpCreditBureau]:
    """The adapter, with these changes to its policy."""
    bureau = HttpCreditBureau(url, replace(POLICY, **changes))
    try:
        yield bureau
    finally:
        bureau.close()


@pytest.fixture
def bureau(clearing_house: ClearingHouse) -> Iterator[HttpCreditBureau]:
    with asking(clearing_house.url) as bureau:
        yield bureau


@pytest.fixture
def no_waits_between_attempts() -> Iterator[None]:
    with stamina.set_testing(True, attempts=100, cap=True):
        yield


def score(bureau: CreditBureau) -> int:
    return bureau.score(SOMEONE, idempotency_key=uuid4())


def failure_of(bureau: CreditBureau) -> CreditBureauUnavailable:
    with pytest.raises(CreditBureauUnavailable) as caught:
        score(bureau)
    return caught.value


def test_it_asks_with_the_key_and_the_national_id_in_the_body_alone(
    clearing_house: ClearingHouse, bureau: HttpCreditBureau
) -> None:
    clearing_house.will(answer(b'{"score": 7, "asked_at": "just now"}'))
    key = uuid4()

    assert bureau.score(SOMEONE, idempotency_key=key) == 7
    assert clearing_house.asked == [
        {"path": "/scores", "key": str(key), "body": {"national_id": SOMEONE}}
    ]


def test_it_asks_below_the_path_of_its_address(clearing_house: ClearingHouse) -> None:
    clearing_house.will(scored(7))
    with asking(f"{clearing_house.url}/v1/") as bureau:
        score(bureau)
    assert [each["path"] for each in clearing_house.asked] == ["/v1/scores"]


def test_it_uses_a_connection_again(
    clearing_house: ClearingHouse, bureau: HttpCreditBureau
) -> None:
    clearing_house.will(scored(7))
    assert [score(bureau) for _ in range(5)] == [7] * 5
    assert clearing_house.connections == 1


def test_thirty_two_threads_ask_at_the_same_time(clearing_house: ClearingHouse) -> None:
    together = threading.Barrier(32)

    def when_all_have_asked(handler: BaseHTTPRequestHandler) -> None:
        together.wait(SECONDS)
        scored(7)(handler)

    clearing_house.will(when_all_have_asked)
    with (
        asking(clearing_house.url) as bureau,
        ThreadPoolExecutor(32) as threads,
    ):
        assert list(threads.map(lambda _: score(bureau), range(32))) == [7] * 32
    assert len(clearing_house.asked) == 32


# What may pass: (what the credit bureau does, what the operator reads).
PASSING: Final = {
    "500": (answer(b"", 500), "answered 500"),
    "503": (answer(b"", 503), "answered 503"),
    "429": (answer(b"", 429), "answered 429"),
    "hangs up": (hang_up, "broke off the connection"),
    "reset": (reset, "broke off the connection"),
    "hangs up in the body": (half_a_body_and_then(hang_up), "broke off the connection"),
    "reset in the body": (half_a_body_and_then(reset), "broke off the connection"),
    "not HTTP": (not_http, "did not keep to HTTP"),
    "a date that is past": (
        answer(b"", 503, Retry_After="Sun, 06 Nov 1994 08:49:37 GMT"),
        "answered 503",
    ),
    "a nonsense Retry-After": (answer(b"", 503, Retry_After="a while"), "answered 503"),
    "a negative Retry-After": (answer(b"", 503, Retry_After="-5"), "answered 503"),
}

SILENT: Final = {
    "no headers": (say_nothing, "timed out"),
    "half a body": (half_a_body_and_then(say_nothing), "timed out"),
}

# What is no answer, and would be none the next moment.
GARBAGE: Final = {
    "11": (answer(b'{"score": 11}'), "answered a score of 11"),
    "0": (answer(b'{"score": 0}'), "answered a score of 0"),
    '"7"': (answer(b'{"score": "7"}'), "answered a score that is none"),
    "7.0": (answer(b'{"score": 7.0}'), "answered a score of 7.0"),
    "true": (answer(b'{"score": true}'), "answered a score of true"),
    "null": (answer(b'{"score": null}'), "answered a score of null"),
    "NaN": (answer(b'{"score": NaN}'), "answered a score of NaN"),
    "a national ID": (answer(b'{"score": "123456aa"}'), "answered a score that is none"),
    "a long number": (answer(b'{"score": 123456}'), "answered a score that is none"),
    "a list": (answer(b'{"score": [7]}'), "answered a score that is none"),
    "missing": (answer(b"{}"), "answered without a score"),
    "no object": (answer(b"7"), "answered without a score"),
    "nothing": (answer(b""), "answered with something other than JSON"),
    "no JSON": (answer(b'{"score": 7'), "answered with something other than JSON"),
    "no text": (answer(b"\xff"), "answered with something other than JSON"),
    "very deep": (answer(b"[" * 10_000), "answered with something other than JSON"),
    "HTML": (answer(b'{"score": 7}', content_type="text/html"), "something other than JSON"),
    "no type": (answer(b'{"score": 7}', content_type=""), "something other than JSON"),
    "huge": (answer(b'{"score": 7}' + b" " * 1_000_000), "answered far too much"),
    "301": (answer(b"", 301, Location="/scores"), "answered 301, which is no answer"),
    "307": (answer(b"", 307, Location="/scores"), "answered 307, which is no answer"),
    "204": (answer(b"", 204, content_type=""), "answered with something other than JSON"),
}

# What is this side's fault.
REFUSALS: Final = {
    str(status): (answer(b'{"error": "123456aa?"}', status), f"refused to answer ({status})")
    for status in (400, 401, 404, 422)
}


def named(cases: dict[str, tuple[Reply, str]]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(("reply", "reason"), cases.values(), ids=cases.keys())


@pytest.mark.usefixtures("no_waits_between_attempts")
@named(PASSING | SILENT)
class TestAFailureThatMayPass:
    @pytest.fixture
    def bureau(self, reply: Reply, clearing_house: ClearingHouse) -> Iterator[HttpCreditBureau]:
        is_silent = any(reply is each for each, _ in SILENT.values())
        with asking(clearing_house.url, read_timeout=0.4 if is_silent else 5.0) as bureau:
            yield bureau

    def test_is_asked_again_with_the_same_key(
        self, reply: Reply, reason: str, clearing_house: ClearingHouse, bureau: HttpCreditBureau
    ) -> None:
        clearing_house.will(reply, reply, scored(3))
        key = uuid4()
        assert bureau.score(SOMEONE, idempotency_key=key) == 3
        assert clearing_house.keys == [str(key)] * 3

    def test_is_given_up_after_so_many_attempts_and_nothing_personal_is_told(
        self,
        reply: Reply,
        reason: str,
        clearing_house: ClearingHouse,
        bureau: HttpCreditBureau,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        clearing_house.will(reply)
        failure = failure_of(bureau)
        assert reason in failure.reason
        assert len(clearing_house.asked) == POLICY.attempts
        check_nothing_personal_is_told(failure, caplog)


@named(GARBAGE | REFUSALS)
def test_what_would_be_the_same_the_next_moment_is_not_asked_again(
    reply: Reply,
    reason: str,
    clearing_house: ClearingHouse,
    bureau: HttpCreditBureau,
    caplog: pytest.LogCaptureFixture,
) -> None:
    clearing_house.will(reply, scored(7))
    failure = failure_of(bureau)
    assert reason in failure.reason
    assert len(clearing_house.asked) == 1
    check_nothing_personal_is_told(failure, caplog)
    assert score(bureau) == 7


def check_nothing_personal_is_told(
    failure: CreditBureauUnavailable, caplog: pytest.LogCaptureFixture
) -> None:
    told = "".join([caplog.text, *traceback.format_exception(failure), repr(failure)])
    assert failure.reason in told
    assert SOMEONE not in told


def test_one_that_is_not_there_is_told_from_one_that_is_slow() -> None:
    with asking(f"http://127.0.0.1:{free_port()}", attempts=1) as bureau:
        assert failure_of(bureau).reason == "could not be reached"


class TestTheDeadline:
    @pytest.mark.parametrize(
        "reply",
        [say_nothing, trickle_headers, half_a_body_and_then(trickle_the_body)],
        ids=["silence", "headers byte by byte", "a body byte by byte"],
    )
    def test_holds_whatever_comes(self, reply: Reply, clearing_house: ClearingHouse) -> None:
        clearing_house.will(reply)
        with asking(clearing_house.url, deadline=0.6, read_timeout=0.2, attempts=100) as bureau:
            began = time.monotonic()
            failure = failure_of(bureau)
            took = time.monotonic() - began
        assert failure.reason == "timed out"
        assert 0.6 <= took < 3

    def test_leaves_no_connection_behind(self, clearing_house: ClearingHouse) -> None:
        hung_up = threading.Event()

        def trickle(handler: BaseHTTPRequestHandler) -> None:
            try:
                trickle_headers(handler)
            finally:
                hung_up.set()

        clearing_house.will(trickle)
        with asking(clearing_house.url, deadline=0.3) as bureau:
            failure_of(bureau)
            assert hung_up.wait(SECONDS)


class TestBeingToldWhenToAskAgain:
    @pytest.mark.parametrize("status", [429, 503])
    def test_waits_for_so_long(
        self, status: int, clearing_house: ClearingHouse, bureau: HttpCreditBureau
    ) -> None:
        clearing_house.will(answer(b"", status, Retry_After="1"), scored(7))
        began = time.monotonic()
        assert score(bureau) == 7
        assert time.monotonic() - began >= 1

    def test_waits_until_that_date(
        self, clearing_house: ClearingHouse, bureau: HttpCreditBureau
    ) -> None:
        date = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=2)
        clearing_house.will(answer(b"", 503, Retry_After=format_datetime(date, True)), scored(7))
        assert score(bureau) == 7
        assert datetime.now(UTC) >= date

    @pytest.mark.parametrize(
        ("header", "seconds"),
        [
            (lambda: "30", 30),
            (lambda: format_datetime(datetime.now(UTC) + timedelta(seconds=30), True), 30),
            (lambda: "9" * 5000, 24 * 60 * 60),
            (lambda: "Fri, 31 Dec 9999 23:59:59 GMT", 24 * 60 * 60),
        ],
        ids=["seconds", "a date", "for ever", "a date far away"],
    )
    def test_gives_up_at_once_where_that_is_too_late_and_says_when(
        self,
        header: Callable[[], str],
        seconds: float,
        clearing_house: ClearingHouse,
        bureau: HttpCreditBureau,
    ) -> None:
        clearing_house.will(answer(b"", 429, Retry_After=header()))
        failure = failure_of(bureau)
        assert failure.retry_after == pytest.approx(seconds, abs=3)
        assert failure.reason == "answered 429"
        assert len(clearing_house.asked) == 1


class TestTheBreaker:
    @pytest.mark.parametrize("reply", [answer(b"", 500), hang_up, scored(11)])
    def test_has_nobody_ask_after_so_many_failures_in_a_row(
        self, reply: Reply, clearing_house: ClearingHouse
    ) -> None:
        clearing_house.will(reply)
        with asking(clearing_house.url, attempts=1, failures=3) as bureau:
            for _ in range(3):
                assert "not asked" not in failure_of(bureau).reason
            connections = clearing_house.connections
            with ThreadPoolExecutor(32) as threads:
                failures = list(threads.map(lambda _: failure_of(bureau), range(100)))
        assert {each.reason for each in failures} == {"not asked: it failed too often just now"}
        assert all(each.retry_after and 0 < each.retry_after <= 60 for each in failures)
        assert clearing_house.connections == connections
        assert len(clearing_house.asked) == 3

    def test_counts_what_the_deadline_has_cut_off(self, clearing_house: ClearingHouse) -> None:
        clearing_house.will(trickle_headers)
        with asking(clearing_house.url, deadline=0.2, failures=2) as bureau:
            for _ in range(2):
                failure_of(bureau)
            wait_until(lambda: "not asked" in failure_of(bureau).reason, SECONDS)
        # It is counted a moment after the caller is told, who may be quicker.
        assert len(clearing_house.asked) in (2, 3)

    def test_goes_by_failures_in_a_row(self, clearing_house: ClearingHouse) -> None:
        fails = answer(b"", 500)
        clearing_house.will(fails, fails, scored(7), fails, fails, scored(7))
        with asking(clearing_house.url, attempts=1, failures=3) as bureau:
            for _ in range(2):
                for _ in range(2):
                    assert failure_of(bureau).reason == "answered 500"
                assert score(bureau) == 7

    def test_does_not_mind_what_is_this_sides_fault(self, clearing_house: ClearingHouse) -> None:
        clearing_house.will(answer(b"", 422))
        with asking(clearing_house.url, failures=3) as bureau:
            for _ in range(10):
                assert failure_of(bureau).reason == "refused to answer (422)"

    def test_ends_the_attempts_for_a_score(self, clearing_house: ClearingHouse) -> None:
        clearing_house.will(answer(b"", 500))
        with asking(clearing_house.url, attempts=10, failures=2) as bureau:
            assert failure_of(bureau).reason == "answered 500"
        assert len(clearing_house.asked) == 2

    def test_lets_one_try_after_a_pause_and_all_once_that_went_well(
        self, clearing_house: ClearingHouse
    ) -> None:
        go_on = threading.Event()

        def when_told(handler: BaseHTTPRequestHandler) -> None:
            go_on.wait(SECONDS)
            scored(7)(handler)

        clearing_house.will(answer(b"", 500), answer(b"", 500), when_told, scored(7))
        with (
            asking(clearing_house.url, attempts=1, failures=2, pause=0.2) as bureau,
            ThreadPoolExecutor(32) as threads,
        ):
            for _ in range(2):
                failure_of(bureau)
            trying = [threads.submit(try_until_asked, bureau, clearing_house, 3) for _ in range(8)]
            wait_until(lambda: len(clearing_house.asked) == 3, SECONDS)
            assert {failure_of(bureau).reason for _ in range(20)} == {
                "not asked: it failed too often just now"
            }
            go_on.set()
            assert [each.result(SECONDS) for each in trying].count(7) == 1
            assert list(threads.map(lambda _: score(bureau), range(20))) == [7] * 20
        assert len(clearing_house.asked) == 23

    def test_pauses_again_where_that_went_wrong(self, clearing_house: ClearingHouse) -> None:
        clearing_house.will(answer(b"", 500))
        with asking(clearing_house.url, attempts=1, failures=3, pause=0.2) as bureau:
            began = time.monotonic()
            for _ in range(3):
                failure_of(bureau)
            wait_until(lambda: failure_of(bureau).reason == "answered 500", SECONDS, every=0.01)
            assert time.monotonic() - began >= 0.2
            assert "not asked" in failure_of(bureau).reason
        assert len(clearing_house.asked) == 4


def try_until_asked(bureau: HttpCreditBureau, house: ClearingHouse, times: int) -> int | None:
    """Ask until it was asked so often; the score, if this is who got it."""
    while len(house.asked) < times:
        with suppress(CreditBureauUnavailable):
            return score(bureau)
        time.sleep(0.005)
    return None


@pytest.mark.usefixtures("no_waits_between_attempts")
def test_with_a_clearing_house_that_fails_often_each_key_gets_the_score_that_is_its_own(
    tmp_path: Path,
) -> None:
    """And no key is asked about again once it was answered."""
    rates = ["--failure-rate", "0.3", "--garbage-rate", "0.2", "--latency", "0", "--seed", "1"]
    people = {UUID(int=number): f"{number:06}aa" for number in range(80)}

    def ask_until_answered(key: UUID) -> int:
        for _ in range(30):
            with suppress(CreditBureauUnavailable):
                return adapter.score(people[key], idempotency_key=key)
        raise AssertionError(f"no score for {key}")

    with (
        running_clearing_house(*rates, directory=tmp_path) as house,
        asking(house.url, read_timeout=2.0) as adapter,
        ThreadPoolExecutor(16) as threads,
    ):
        scores = dict(zip(people, threads.map(ask_until_answered, people), strict=True))
        asks = house.asks()
    assert scores == {key: simulated_score(person, key) for key, person in people.items()}
    assert {each["answered"] for each in asks["by_key"].values()} == {1}
    assert asks["answered"] == len(people)
    assert asks["asked"] > 1.5 * len(people)


class TestSimulator:
    @pytest.mark.parametrize(("national_id", "score"), KNOWN_SCORES.items())
    def test_it_knows_some_people(self, national_id: str, score: int) -> None:
        bureau = SimulatedCreditBureau(latency=0)
        for written in (national_id, national_id.upper()):
            assert bureau.score(written, idempotency_key=uuid4()) == score

    def test_everyone_else_has_a_score_from_1_to_10_that_stays_for_a_key(self) -> None:
        bureau = SimulatedCreditBureau(latency=0)
        keys = [UUID(int=number) for number in range(200)]
        scores = [bureau.score(SOMEONE, idempotency_key=key) for key in keys]
        assert set(scores) == set(range(1, 11))
        assert scores == [bureau.score(SOMEONE, idempotency_key=key) for key in keys]
