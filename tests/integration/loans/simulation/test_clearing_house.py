"""`manage.py clearing_house`: its protocol, over real sockets, and the command as a process."""

from __future__ import annotations

import json
import re
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx2
import pytest
from django.core.management import CommandError, call_command

from loans.simulation.clearing_house import ClearingHouse
from loans.simulation.manners import FAILURES, GARBAGE, Behaviour, Manners, NoReply, Reply
from tests.support.clearing_house import RunningClearingHouse, running_clearing_house
from tests.support.processes import wait_until

SECONDS = 10.0
SECONDS_TO_STOP = 5.0  # It takes a quarter of one, where others leave it the time.


@dataclass(frozen=True, kw_only=True)
class Always(Manners):
    """Behaves in one way, and in no other."""

    behaviour: Behaviour

    def misbehaviour(self, key: UUID, asks_before: int) -> Behaviour:
        return self.behaviour


@contextmanager
def serving(manners: Manners) -> Iterator[ClearingHouse]:
    """A credit bureau in this process, which answers until this is left."""
    with ClearingHouse("127.0.0.1", 0, manners) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server
        server.shutdown()


@pytest.fixture(scope="module")
def clearing_house() -> Iterator[ClearingHouse]:
    with serving(Manners()) as server:
        yield server


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningClearingHouse]:
    with running_clearing_house(directory=tmp_path_factory.mktemp("house")) as running:
        yield running


@pytest.fixture
def client(clearing_house: ClearingHouse) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=clearing_house.url, trust_env=False, timeout=SECONDS) as client:
        yield client


def ask(
    client: httpx2.Client, national_id: object, *, key: object = None, **headers: str
) -> httpx2.Response:
    named = {"Idempotency-Key": str(key or uuid4()), **headers}
    return client.post("/scores", json={"national_id": national_id}, headers=named)


def asks_of(client: httpx2.Client, key: UUID) -> dict[str, int]:
    return dict(client.get("/asks").json()["by_key"][str(key)])


class TestAsking:
    @pytest.mark.parametrize(("national_id", "score"), [("999999aa", 9), ("111111AA", 1)])
    def test_knows_some_people(self, client: httpx2.Client, national_id: str, score: int) -> None:
        answer = ask(client, national_id)
        assert (answer.status_code, answer.json()) == (200, {"score": score})
        assert answer.headers["Content-Type"] == "application/json"

    def test_gives_everyone_else_a_score_that_stays_for_a_key(self, client: httpx2.Client) -> None:
        keys = [UUID(int=number) for number in range(60)]
        scores = [ask(client, "123456aa", key=key).json()["score"] for key in keys]
        assert set(scores) == set(range(1, 11))
        assert scores == [ask(client, "123456AA", key=key).json()["score"] for key in keys]

    def test_refuses_a_key_that_was_used_for_somebody_else(self, client: httpx2.Client) -> None:
        key = uuid4()
        assert ask(client, "123456aa", key=key).status_code == 200
        refusal = ask(client, "123456ab", key=key)
        assert refusal.status_code == 422
        assert "somebody else" in refusal.json()["error"]
        assert asks_of(client, key) == {"asked": 1, "answered": 1}

    def test_of_two_who_ask_with_one_key_at_once_about_two_people_one_gets_an_answer(self) -> None:
        key = uuid4()
        with (
            serving(Manners(latency=0.2)) as server,
            httpx2.Client(base_url=server.url, trust_env=False, timeout=SECONDS) as client,
            ThreadPoolExecutor() as threads,
        ):
            people = ["123456aa", "123456ab"]
            answers = list(threads.map(lambda person: ask(client, person, key=key), people))
        assert sorted(each.status_code for each in answers) == [200, 422]

    def test_counts_what_it_was_asked_and_answered(self, client: httpx2.Client) -> None:
        key = uuid4()
        before = client.get("/asks").json()
        for _ in range(3):
            ask(client, "123456aa", key=key)
        after = client.get("/asks").json()
        assert asks_of(client, key) == {"asked": 3, "answered": 3}
        for count in ("asked", "answered"):
            assert after[count] == before[count] + 3

    def test_is_healthy(self, client: httpx2.Client) -> None:
        assert client.get("/healthz").status_code == 200

    def test_serves_many_at_once(self) -> None:
        with (
            serving(Manners(latency=0.3)) as server,
            httpx2.Client(base_url=server.url, trust_env=False, timeout=SECONDS) as client,
            ThreadPoolExecutor(32) as threads,
        ):
            began = time.monotonic()
            answers = list(threads.map(lambda _: ask(client, "999999aa"), range(32)))
            took = time.monotonic() - began
        assert {each.status_code for each in answers} == {200}
        assert took < 32 * 0.3 / 2


class TestRefusing:
    @pytest.mark.parametrize(
        ("request_", "status"),
        [
            ({"headers": {"Idempotency-Key": ""}}, 400),
            ({"headers": {"Idempotency-Key": "7"}}, 400),
            ({"headers": {"Idempotency-Key": f"{uuid4()}0"}}, 400),
            ({"content": b""}, 400),
            ({"content": b"{"}, 400),
            ({"content": b"\xff"}, 400),
            ({"content": b"[]"}, 400),
            ({"content": b"{}"}, 400),
            ({"content": b'{"national_id": 7}'}, 400),
            ({"content": b'{"national_id": "123456aa\\n"}'}, 400),
            ({"content": b" " * 5000}, 413),
            ({"headers": {"Content-Type": "text/plain"}}, 415),
            ({"headers": {"Content-Type": ""}}, 415),
            ({"method": "GET"}, 405),
            ({"method": "PUT"}, 405),
            ({"method": "DELETE"}, 405),
            ({"method": "BREW"}, 405),
            ({"url": "/"}, 404),
            ({"url": "/scores/"}, 404),
            ({"url": "/healthz"}, 405),
            ({"content": iter([b"{}"])}, 411),
        ],
        ids=lambda value: str(value)[:50],
    )
    def test_says_what_is_wrong(
        self, client: httpx2.Client, request_: dict[str, Any], status: int
    ) -> None:
        good = {
            "method": "POST",
            "url": "/scores",
            "content": b'{"national_id": "123456aa"}',
            "headers": {"Content-Type": "application/json", "Idempotency-Key": str(uuid4())},
        }
        headers = {**good["headers"], **request_.pop("headers", {})}  # type: ignore[dict-item]
        answer = client.request(**{**good, **request_, "headers": headers})
        assert (answer.status_code, answer.headers["Content-Type"]) == (status, "application/json")
        assert answer.json()["error"]
        assert "123456" not in answer.text
        assert ask(client, "999999aa").status_code == 200

    @pytest.mark.parametrize(
        "request_",
        [
            b"GET / HTTP/1.1 and more\r\n\r\n",
            b"GET\r\n",
            b"\x16\x03\x01\x02\x00 \r\n",
            b"POST /scores HTTP/1.1\r\nContent-Length: many\r\n\r\n",
            b"POST /scores HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        ],
    )
    def test_answers_what_is_no_http(self, clearing_house: ClearingHouse, request_: bytes) -> None:
        port = int(clearing_house.server_address[1])
        with socket.create_connection(("127.0.0.1", port), timeout=SECONDS) as connection:
            connection.sendall(request_)
            with connection.makefile("rb") as answer:
                assert answer.readline().startswith(b"HTTP/1.1 400 ")
                headers, _, body = answer.read().partition(b"\r\n\r\n")
        assert b"application/json" in headers
        assert json.loads(body)["error"]


class TestMisbehaving:
    def test_does_it_at_the_rates_that_are_set(self) -> None:
        manners = Manners(failure_rate=0.3, garbage_rate=0.2, seed=1)
        kinds = Counter(manners.misbehaviour(UUID(int=number), 0) for number in range(4000))
        assert sum(kinds[each] for each in FAILURES) == pytest.approx(1200, rel=0.1)
        assert sum(kinds[each] for each in GARBAGE) == pytest.approx(800, rel=0.1)
        assert set(kinds) == {*FAILURES, *GARBAGE, None}

    def test_does_the_same_to_the_same_ask_if_there_is_a_seed(self) -> None:
        key = uuid4()
        once, again = (
            [Manners(failure_rate=0.5, seed=7).misbehaviour(key, ask) for ask in range(50)]
            for _ in range(2)
        )
        assert once == again
        assert len(set(once)) == len(FAILURES) + 1

    def test_is_never_wrong_unless_told_to_be(self) -> None:
        assert not any(Manners().misbehaviour(uuid4(), 0) for _ in range(1000))

    def test_what_went_wrong_does_not_use_up_the_key(self) -> None:
        with (
            serving(Manners(garbage_rate=1)) as server,
            httpx2.Client(base_url=server.url, trust_env=False, timeout=SECONDS) as client,
        ):
            key = uuid4()
            ask(client, "123456aa", key=key)
            server.manners = Manners()
            assert ask(client, "123456ab", key=key).status_code == 200
            assert asks_of(client, key) == {"asked": 2, "answered": 1}

    @pytest.mark.parametrize("behaviour", [*FAILURES, *GARBAGE], ids=str)
    def test_does_each_of_these(self, behaviour: Behaviour) -> None:
        with (
            serving(Always(behaviour=behaviour)) as server,
            httpx2.Client(base_url=server.url, trust_env=False, timeout=0.3) as client,
        ):
            match behaviour:
                case NoReply.HANG_UP:
                    with pytest.raises((httpx2.NetworkError, httpx2.RemoteProtocolError)):
                        ask(client, "123456aa")
                case NoReply.SAY_NOTHING:
                    with pytest.raises(httpx2.ReadTimeout):
                        ask(client, "123456aa")
                case Reply():
                    answer = ask(client, "123456aa")
                    assert (answer.status_code, answer.content) == (
                        behaviour.status,
                        behaviour.body,
                    )
                    assert answer.headers["Content-Type"] == behaviour.content_type
                    for name, value in behaviour.headers:
                        assert answer.headers[name] == value


class TestTheCommand:
    def test_says_where_it_is_and_nothing_of_those_it_is_asked_about(
        self, running: RunningClearingHouse
    ) -> None:
        with httpx2.Client(base_url=running.url, trust_env=False, timeout=SECONDS) as client:
            assert ask(client, "999999aa").json() == {"score": 9}
            client.post("/scores?national_id=999999aa")
            client.get("/999999aa")
        assert re.fullmatch(r"credit bureau ready on http://127\.0\.0\.1:\d+\n", running.output)

    def test_says_in_one_line_that_its_port_is_taken(self, running: RunningClearingHouse) -> None:
        port = running.url.rpartition(":")[2]
        with pytest.raises(CommandError, match=f"Cannot listen on 127.0.0.1, port {port}"):
            call_command("clearing_house", "--port", port)

    @pytest.mark.parametrize(
        ("arguments", "problem"),
        [
            (["--latency", "-1"], "'-1' is not a number from 0 up"),
            (["--latency", "inf"], "'inf' is not a number from 0 up"),
            (["--failure-rate", "1.1"], "'1.1' is not a number from 0 to 1"),
            (["--garbage-rate", "nan"], "'nan' is not a number from 0 to 1"),
            (["--port", "65536"], "'65536' is not a port"),
            (["--failure-rate", "0.6", "--garbage-rate", "0.6"], "more than 1 together"),
        ],
    )
    def test_says_what_is_wrong_with_its_options(self, arguments: list[str], problem: str) -> None:
        with pytest.raises(CommandError, match=problem):
            call_command("clearing_house", *arguments)

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_ends_at_once_when_told_to(self, number: signal.Signals, tmp_path: Path) -> None:
        manners = ["--latency", "60"]
        with (
            running_clearing_house(*manners, directory=tmp_path) as running,
            httpx2.Client(base_url=running.url, trust_env=False, timeout=60) as client,
            ThreadPoolExecutor() as threads,
        ):
            asking = threads.submit(ask, client, "123456aa")
            wait_until(lambda: running.asks()["asked"], SECONDS, what="it is asked")
            began = time.monotonic()
            assert running.stop(number) == 0
            assert time.monotonic() - began < SECONDS_TO_STOP
            assert isinstance(asking.exception(SECONDS), httpx2.TransportError)
        assert running.output.count("\n") == 1
