"""The credit bureau's adapters: the HTTP one against a real server that misbehaves."""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler
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
from loans.domain.credit_report import CreditReport
from loans.simulation.bureau_server import (
    BureauServer,
    HttpReply,
    Reply,
    answer_in_json,
    reset_connection,
    say_nothing,
)
from loans.simulation.misbehaviour import RandomMisbehaviour
from tests.support.bureau_server import running_bureau, script
from tests.support.processes import PATIENCE, free_port, wait_until

Cases = dict[str, tuple[Reply, str]]

SOMEONE: Final = "123456aa"
POLICY: Final = CallPolicy(
    connect_timeout=5.0, read_timeout=5.0, deadline=15.0, attempts=3, failures=1000, pause=60.0
)


def scored(score: int) -> HttpReply:
    return answer_in_json({"score": score})


def reported(**more: Any) -> HttpReply:
    return answer_in_json({"score": 3, **more})


def unavailable(retry_after: str, status: int = 503) -> HttpReply:
    return HttpReply(status=status, headers=(("Retry-After", retry_after),))


def moved(status: int) -> HttpReply:
    return HttpReply(status=status, headers=(("Location", "/scores"),))


def hang_up(handler: BaseHTTPRequestHandler) -> None:
    handler.close_connection = True


def half_a_body_and_then(do: Reply) -> Reply:
    def reply(handler: BaseHTTPRequestHandler) -> None:
        headers = (
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n"
        )
        handler.wfile.write(headers + b'{"sco')
        do(handler)

    return reply


def _trickle(handler: BaseHTTPRequestHandler, piece: bytes) -> None:
    handler.close_connection = True
    while True:  # until the client closes the connection
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
def server() -> Iterator[BureauServer]:
    with running_bureau() as server:
        yield server


@pytest.fixture(autouse=True)
def nothing_personal_is_logged(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    yield
    logged = map(caplog.handler.format, caplog.get_records("call"))
    assert not any(SOMEONE in line for line in logged)


@contextmanager
def asking(url: str, **changes: Any) -> Iterator[HttpCreditBureau]:
    """The adapter, with these changes to its policy."""
    bureau = HttpCreditBureau(url, replace(POLICY, **changes))
    try:
        yield bureau
    finally:
        bureau.close()


@pytest.fixture
def bureau(server: BureauServer) -> Iterator[HttpCreditBureau]:
    with asking(server.url) as bureau:
        yield bureau


@pytest.fixture
def no_waits_between_attempts() -> Iterator[None]:
    with stamina.set_testing(True, attempts=100, cap=True):
        yield


def score(bureau: CreditBureau) -> int:
    return bureau.report(SOMEONE, idempotency_key=uuid4()).score


def failure_of(bureau: CreditBureau) -> CreditBureauUnavailable:
    """The failure of one call. Checks that it has no personal data."""
    with pytest.raises(CreditBureauUnavailable) as caught:
        score(bureau)
    shown = "".join([*traceback.format_exception(caught.value), repr(caught.value)])
    assert caught.value.reason in shown
    assert SOMEONE not in shown
    return caught.value


@pytest.mark.parametrize(("path", "asked"), [("", "/scores"), ("/v1/", "/v1/scores")])
def test_it_asks_with_the_key_and_the_national_id_in_the_body_alone(
    path: str, asked: str, server: BureauServer
) -> None:
    requests: list[tuple[str, str]] = []
    key = uuid4()

    def note_the_request(handler: BaseHTTPRequestHandler) -> None:
        requests.append((handler.path, str(handler.headers)))
        HttpReply(b'{"score": 7, "asked_at": "just now"}')(handler)

    server.misbehave = script(note_the_request)
    with asking(f"{server.url}{path}") as bureau:
        assert bureau.report(SOMEONE, idempotency_key=key).score == 7
    [(asked_path, headers)] = requests
    assert asked_path == asked
    assert SOMEONE not in headers
    assert server.asked == {key: 1}


def test_it_reuses_a_connection(server: BureauServer, bureau: HttpCreditBureau) -> None:
    clients = set()

    def note_the_client(handler: BaseHTTPRequestHandler) -> None:
        clients.add(handler.client_address)
        scored(7)(handler)

    server.misbehave = script(note_the_client)
    assert [score(bureau) for _ in range(5)] == [7] * 5
    assert len(clients) == 1


def test_thirty_two_threads_ask_at_the_same_time(server: BureauServer) -> None:
    together = threading.Barrier(32)

    def when_all_have_asked(handler: BaseHTTPRequestHandler) -> None:
        together.wait(PATIENCE)
        scored(7)(handler)

    server.misbehave = script(when_all_have_asked)
    with asking(server.url) as bureau, ThreadPoolExecutor(32) as threads:
        assert list(threads.map(lambda _: score(bureau), range(32))) == [7] * 32
    assert server.asked.total() == 32


# Worth another attempt. Each case is a reply, and the reason that the operator reads.
TRANSIENT: Final[Cases] = {
    "500": (HttpReply(status=500), "answered 500"),
    "503": (HttpReply(status=503), "answered 503"),
    "429": (HttpReply(status=429), "answered 429"),
    "hangs up": (hang_up, "broke off the connection"),
    "reset": (reset_connection, "broke off the connection"),
    "hangs up in the body": (half_a_body_and_then(hang_up), "broke off the connection"),
    "reset in the body": (half_a_body_and_then(reset_connection), "broke off the connection"),
    "not HTTP": (not_http, "did not keep to HTTP"),
    "a date that is past": (unavailable("Sun, 06 Nov 1994 08:49:37 GMT"), "answered 503"),
    "a nonsense Retry-After": (unavailable("a while"), "answered 503"),
    "a negative Retry-After": (unavailable("-5"), "answered 503"),
}

SILENT: Final[Cases] = {
    "no headers": (say_nothing, "timed out"),
    "half a body": (half_a_body_and_then(say_nothing), "timed out"),
}

# Not usable, and another attempt would get the same answer.
GARBAGE: Final[Cases] = {
    "11": (HttpReply(b'{"score": 11}'), "answered a score of 11"),
    "0": (HttpReply(b'{"score": 0}'), "answered a score of 0"),
    '"7"': (HttpReply(b'{"score": "7"}'), "answered a score that is none"),
    "7.0": (HttpReply(b'{"score": 7.0}'), "answered a score of 7.0"),
    "true": (HttpReply(b'{"score": true}'), "answered a score of true"),
    "null": (HttpReply(b'{"score": null}'), "answered a score of null"),
    "NaN": (HttpReply(b'{"score": NaN}'), "answered a score of NaN"),
    "a national ID": (HttpReply(b'{"score": "123456aa"}'), "answered a score that is none"),
    "a long number": (HttpReply(b'{"score": 123456}'), "answered a score that is none"),
    "a list": (HttpReply(b'{"score": [7]}'), "answered a score that is none"),
    "missing": (HttpReply(b"{}"), "answered without a score"),
    "no object": (HttpReply(b"7"), "answered without a score"),
    "nothing": (HttpReply(b""), "answered with something other than JSON"),
    "no JSON": (HttpReply(b'{"score": 7'), "answered with something other than JSON"),
    "no text": (HttpReply(b"\xff"), "answered with something other than JSON"),
    "very deep": (HttpReply(b"[" * 10_000), "answered with something other than JSON"),
    "six factors": (reported(factors=["late_payments"] * 6), "that are not up to 5 codes"),
    "10 kB of factors": (reported(factors=["x" * 10_000]), "that are not up to 5 codes"),
    "no codes": (reported(factors=["123456aa has\npaid late"]), "that are not up to 5 codes"),
    "no list": (reported(factors="late_payments"), "that are not up to 5 codes"),
    "numbers": (reported(factors=[7]), "that are not up to 5 codes"),
    "no moment": (reported(scored_at="yesterday"), "a moment of scoring that is none"),
    "no zone": (reported(scored_at="2026-11-23T09:30:00"), "a moment of scoring that is none"),
    "HTML": (HttpReply(b'{"score": 7}', content_type="text/html"), "something other than JSON"),
    "no type": (HttpReply(b'{"score": 7}', content_type=""), "something other than JSON"),
    "huge": (HttpReply(b'{"score": 7}' + b" " * 1_000_000), "answered far too much"),
    "301": (moved(301), "answered 301, which is no answer"),
    "307": (moved(307), "answered 307, which is no answer"),
    "204": (HttpReply(status=204, content_type=""), "answered with something other than JSON"),
}

# Answers that say that the request is wrong.
REFUSALS: Final[Cases] = {
    str(status): (HttpReply(b'{"error": "123456aa?"}', status), f"refused to answer ({status})")
    for status in (400, 401, 404, 422)
}


def named(cases: Cases) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(("reply", "reason"), cases.values(), ids=cases.keys())


@pytest.mark.usefixtures("no_waits_between_attempts")
@named(TRANSIENT | SILENT)
class TestATransientFailure:
    @pytest.fixture
    def bureau(self, reply: Reply, server: BureauServer) -> Iterator[HttpCreditBureau]:
        is_silent = any(reply is each for each, _ in SILENT.values())
        with asking(server.url, read_timeout=0.4 if is_silent else 5.0) as bureau:
            yield bureau

    def test_is_retried_with_the_same_key(
        self, reply: Reply, reason: str, server: BureauServer, bureau: HttpCreditBureau
    ) -> None:
        server.misbehave = script(reply, reply, scored(3))
        key = uuid4()
        assert bureau.report(SOMEONE, idempotency_key=key).score == 3
        assert server.asked == {key: 3}

    def test_is_given_up_after_the_last_attempt(
        self, reply: Reply, reason: str, server: BureauServer, bureau: HttpCreditBureau
    ) -> None:
        server.misbehave = script(reply)
        assert reason in failure_of(bureau).reason
        assert server.asked.total() == POLICY.attempts


@named(GARBAGE | REFUSALS)
def test_a_failure_that_would_happen_again_is_not_retried(
    reply: Reply, reason: str, server: BureauServer, bureau: HttpCreditBureau
) -> None:
    server.misbehave = script(reply, scored(7))
    assert reason in failure_of(bureau).reason
    assert server.asked.total() == 1
    assert score(bureau) == 7


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({}, CreditReport(score=3)),
        ({"factors": None, "scored_at": None}, CreditReport(score=3)),
        ({"factors": []}, CreditReport(score=3)),
        (
            {"factors": ["late_payments", "R12.b-3"], "scored_at": "2026-11-23T09:30:00+01:00"},
            CreditReport(
                score=3,
                factors=("late_payments", "R12.b-3"),
                scored_at=datetime(2026, 11, 23, 8, 30, tzinfo=UTC),
            ),
        ),
    ],
    ids=["an old clearing house", "null", "no factors", "a whole report"],
)
def test_a_report_may_say_what_the_score_comes_from_and_when_it_was_made(
    answer: dict[str, Any], expected: CreditReport, server: BureauServer, bureau: HttpCreditBureau
) -> None:
    server.misbehave = script(reported(**answer))
    assert bureau.report(SOMEONE, idempotency_key=uuid4()) == expected


def test_a_server_that_is_down_could_not_be_reached() -> None:
    with asking(f"http://127.0.0.1:{free_port()}", attempts=1) as bureau:
        assert failure_of(bureau).reason == "could not be reached"


class TestTheDeadline:
    @pytest.mark.parametrize(
        "reply",
        [say_nothing, trickle_headers, half_a_body_and_then(trickle_the_body)],
        ids=["silence", "headers byte by byte", "a body byte by byte"],
    )
    def test_holds_whatever_the_server_does(self, reply: Reply, server: BureauServer) -> None:
        server.misbehave = script(reply)
        with asking(server.url, deadline=0.6, read_timeout=0.2, attempts=100) as bureau:
            began = time.monotonic()
            failure = failure_of(bureau)
            took = time.monotonic() - began
        assert failure.reason == "timed out"
        assert 0.6 <= took < 10

    def test_leaves_no_connection_behind(self, server: BureauServer) -> None:
        hung_up = threading.Event()

        def trickle(handler: BaseHTTPRequestHandler) -> None:
            try:
                trickle_headers(handler)
            finally:
                hung_up.set()

        server.misbehave = script(trickle)
        with asking(server.url, deadline=0.3) as bureau:
            failure_of(bureau)
            assert hung_up.wait(PATIENCE)


class TestRetryAfter:
    @pytest.mark.parametrize("status", [429, 503])
    def test_waits_for_so_many_seconds(
        self, status: int, server: BureauServer, bureau: HttpCreditBureau
    ) -> None:
        server.misbehave = script(unavailable("1", status), scored(7))
        began = time.monotonic()
        assert score(bureau) == 7
        assert time.monotonic() - began >= 1

    def test_waits_until_that_date(self, server: BureauServer, bureau: HttpCreditBureau) -> None:
        date = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=2)
        server.misbehave = script(unavailable(format_datetime(date, True)), scored(7))
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
    def test_ends_the_call_at_once_if_it_is_after_the_deadline(
        self,
        header: Callable[[], str],
        seconds: float,
        server: BureauServer,
        bureau: HttpCreditBureau,
    ) -> None:
        server.misbehave = script(unavailable(header(), 429))
        failure = failure_of(bureau)
        assert failure.retry_after == pytest.approx(seconds, abs=3)
        assert failure.reason == "answered 429"
        assert server.asked.total() == 1


class TestTheCircuitBreaker:
    @pytest.mark.parametrize("reply", [HttpReply(status=500), hang_up, scored(11)])
    def test_refuses_calls_after_so_many_failures_in_a_row(
        self, reply: Reply, server: BureauServer
    ) -> None:
        server.misbehave = script(reply)
        with asking(server.url, attempts=1, failures=3) as bureau:
            for _ in range(3):
                assert "not asked" not in failure_of(bureau).reason
            with ThreadPoolExecutor(32) as threads:
                failures = list(threads.map(lambda _: failure_of(bureau), range(100)))
        assert {each.reason for each in failures} == {"not asked: it failed too often just now"}
        assert all(each.retry_after and 0 < each.retry_after <= 60 for each in failures)
        assert server.asked.total() == 3

    def test_counts_calls_that_the_deadline_has_cancelled(self, server: BureauServer) -> None:
        server.misbehave = script(trickle_headers)
        with asking(server.url, deadline=0.2, failures=2) as bureau:
            for _ in range(2):
                failure_of(bureau)
            wait_until(lambda: "not asked" in failure_of(bureau).reason)
        # The caller gets the error a moment before it is counted, and may ask again in between.
        assert server.asked.total() in (2, 3)

    def test_does_not_count_refused_requests(self, server: BureauServer) -> None:
        server.misbehave = script(HttpReply(status=422))
        with asking(server.url, failures=3) as bureau:
            for _ in range(10):
                assert failure_of(bureau).reason == "refused to answer (422)"

    def test_ends_the_attempts_for_a_score(self, server: BureauServer) -> None:
        server.misbehave = script(HttpReply(status=500))
        with asking(server.url, attempts=10, failures=2) as bureau:
            assert failure_of(bureau).reason == "answered 500"
        assert server.asked.total() == 2

    def test_lets_one_call_through_after_the_pause_and_all_once_it_succeeds(
        self, server: BureauServer
    ) -> None:
        server.misbehave = script(HttpReply(status=500), HttpReply(status=500), scored(7))
        began = time.monotonic()
        with asking(server.url, attempts=1, failures=2, pause=0.2) as bureau:
            wait_until(lambda: is_answered(bureau), every=0.01)
            assert time.monotonic() - began >= 0.2
            with ThreadPoolExecutor(32) as threads:
                assert list(threads.map(lambda _: score(bureau), range(20))) == [7] * 20
        assert server.asked.total() == 23


def is_answered(bureau: HttpCreditBureau) -> bool:
    with suppress(CreditBureauUnavailable):
        return score(bureau) == 7
    return False


@pytest.mark.usefixtures("no_waits_between_attempts")
def test_each_key_gets_its_own_score_from_a_server_that_fails_often() -> None:
    """Once a key has its score, the server is not asked with it again."""
    misbehave = RandomMisbehaviour(failure_rate=0.3, garbage_rate=0.2, seed=1)
    people = {UUID(int=number): f"{number:06}aa" for number in range(80)}

    def ask_until_answered(key: UUID) -> int:
        for _ in range(30):
            with suppress(CreditBureauUnavailable):
                return adapter.report(people[key], idempotency_key=key).score
        raise AssertionError(f"no score for {key}")

    with (
        running_bureau(misbehave=misbehave) as server,
        asking(server.url, read_timeout=2.0) as adapter,
        ThreadPoolExecutor(16) as threads,
    ):
        scores = dict(zip(people, threads.map(ask_until_answered, people), strict=True))
    assert scores == {key: simulated_score(person, key) for key, person in people.items()}
    assert server.answered == dict.fromkeys(people, 1)
    assert server.asked.total() > 1.5 * len(people)


class TestSimulator:
    @pytest.mark.parametrize(("national_id", "score"), KNOWN_SCORES.items())
    def test_it_knows_some_people(self, national_id: str, score: int) -> None:
        bureau = SimulatedCreditBureau(latency=0)
        for written in (national_id, national_id.upper()):
            assert bureau.report(written, idempotency_key=uuid4()).score == score

    def test_everyone_else_has_a_score_from_1_to_10_that_stays_for_a_key(self) -> None:
        bureau = SimulatedCreditBureau(latency=0)
        keys = [UUID(int=number) for number in range(200)]
        scores = [bureau.report(SOMEONE, idempotency_key=key).score for key in keys]
        assert set(scores) == set(range(1, 11))
        assert scores == [bureau.report(SOMEONE, idempotency_key=key).score for key in keys]

    @pytest.mark.parametrize(("national_id", "score"), KNOWN_SCORES.items())
    def test_a_score_below_7_comes_from_two_factors(self, national_id: str, score: int) -> None:
        bureau, key = SimulatedCreditBureau(latency=0), uuid4()
        report = bureau.report(national_id, idempotency_key=key)
        assert len(set(report.factors)) == (2 if score < 7 else 0)
        assert report == bureau.report(national_id.upper(), idempotency_key=key)
