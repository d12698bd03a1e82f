"""`manage.py clearing_house`: its protocol, over real sockets, and the command as a process."""

from __future__ import annotations

import os
import re
import signal
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from uuid import UUID, uuid4

import httpx2
import pytest
from django.core.management import CommandError, call_command

from loans.domain.credit_report import CreditReport
from loans.simulation.bureau_server import HttpReply, Reply, say_nothing
from loans.simulation.misbehaviour import FAILURES, GARBAGE, RandomMisbehaviour
from tests.support.bureau_server import running_bureau, script
from tests.support.fork_server import Forked, ForkServer, fork_server
from tests.support.processes import PATIENCE, wait_until


@contextmanager
def client_of_bureau(**options: Any) -> Iterator[httpx2.Client]:
    with running_bureau(**options) as server, client_of(server.url) as client:
        yield client


def client_of(url: str) -> httpx2.Client:
    return httpx2.Client(base_url=url, trust_env=False, timeout=PATIENCE)


@pytest.fixture(scope="module")
def client() -> Iterator[httpx2.Client]:
    with client_of_bureau() as client:
        yield client


@pytest.fixture(scope="module")
def forks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkServer]:
    directory = tmp_path_factory.mktemp("bureau")
    own = {"DJANGO_SETTINGS_MODULE": "lepret.settings", "LEPRET_DATA_DIR": str(directory)}
    with fork_server({**os.environ, **own}, directory) as forks:
        yield forks


def ask(client: httpx2.Client, national_id: str, *, key: UUID | None = None) -> httpx2.Response:
    headers = {"Idempotency-Key": str(key or uuid4())}
    return client.post("/scores", json={"national_id": national_id}, headers=headers)


def asks_of(client: httpx2.Client, key: UUID) -> dict[str, int]:
    return dict(client.get("/asks").json()["by_key"][str(key)])


class TestAsking:
    @pytest.mark.parametrize(("national_id", "score"), [("999999aa", 9), ("111111AA", 1)])
    def test_knows_some_people(self, client: httpx2.Client, national_id: str, score: int) -> None:
        answer = ask(client, national_id)
        assert (answer.status_code, answer.json()["score"]) == (200, score)
        assert answer.headers["Content-Type"] == "application/json"

    def test_gives_everyone_else_a_score_that_stays_for_a_key(self, client: httpx2.Client) -> None:
        keys = [UUID(int=number) for number in range(60)]
        scores = [ask(client, "123456aa", key=key).json()["score"] for key in keys]
        assert set(scores) == set(range(1, 11))
        assert scores == [ask(client, "123456AA", key=key).json()["score"] for key in keys]

    def test_says_what_a_bad_score_comes_from_and_when_it_was_made(
        self, client: httpx2.Client
    ) -> None:
        key = uuid4()
        report = CreditReport.model_validate_json(ask(client, "111111aa", key=key).content)
        assert (report.score, len(report.factors)) == (1, 2)
        assert report.scored_at is not None
        again = CreditReport.model_validate_json(ask(client, "111111aa", key=key).content)
        assert again == report

    def test_refuses_a_key_that_was_used_for_somebody_else(self, client: httpx2.Client) -> None:
        key = uuid4()
        assert ask(client, "123456aa", key=key).status_code == 200
        refusal = ask(client, "123456ab", key=key)
        assert refusal.status_code == 422
        assert "somebody else" in refusal.json()["error"]
        assert asks_of(client, key) == {"asked": 2, "answered": 1}

    def test_gives_a_score_to_one_of_two_people_with_the_same_key_at_once(self) -> None:
        key = uuid4()
        with client_of_bureau(latency=0.2) as client, ThreadPoolExecutor() as threads:
            people = ["123456aa", "123456ab"]
            answers = list(threads.map(lambda person: ask(client, person, key=key), people))
        assert sorted(each.status_code for each in answers) == [200, 422]

    def test_waits_before_it_answers(self) -> None:
        with client_of_bureau(latency=0.2) as client:
            began = time.monotonic()
            ask(client, "123456aa")
            assert time.monotonic() - began >= 0.2

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

    @pytest.mark.parametrize(
        ("request_", "status"),
        [
            ({"headers": {}}, 400),
            ({"headers": {"Idempotency-Key": "7"}}, 400),
            ({"json": {}}, 400),
            ({"json": {"national_id": "1234567"}}, 400),
            ({"method": "GET"}, 404),
        ],
    )
    def test_says_what_is_wrong_with_a_request(
        self, client: httpx2.Client, request_: dict[str, Any], status: int
    ) -> None:
        good = {
            "method": "POST",
            "json": {"national_id": "123456aa"},
            "headers": {"Idempotency-Key": str(uuid4())},
        }
        answer = client.request(url="/scores", **{**good, **request_})
        assert (answer.status_code, answer.headers["Content-Type"]) == (status, "application/json")
        assert answer.json()["error"]


class TestMisbehaving:
    def test_happens_at_the_given_rates(self) -> None:
        misbehave = RandomMisbehaviour(failure_rate=0.3, garbage_rate=0.2, seed=1)
        kinds = Counter(misbehave(UUID(int=number), 0) for number in range(4000))
        assert sum(kinds[each] for each in FAILURES) == pytest.approx(1200, rel=0.1)
        assert sum(kinds[each] for each in GARBAGE) == pytest.approx(800, rel=0.1)
        assert set(kinds) == {*FAILURES, *GARBAGE, None}

    def test_is_the_same_for_the_same_ask_with_the_same_seed(self) -> None:
        key = UUID(int=1)
        once, again = (
            [RandomMisbehaviour(failure_rate=0.5, seed=7)(key, ask) for ask in range(50)]
            for _ in range(2)
        )
        assert once == again
        assert len(set(once)) == len(FAILURES) + 1

    def test_never_happens_by_default(self) -> None:
        assert not any(RandomMisbehaviour()(uuid4(), 0) for _ in range(1000))

    def test_does_not_use_up_the_key(self) -> None:
        with client_of_bureau(misbehave=script(*GARBAGE, None)) as client:
            key = uuid4()
            for _ in GARBAGE:
                ask(client, "123456aa", key=key)
            assert ask(client, "123456ab", key=key).status_code == 200
            assert asks_of(client, key) == {"asked": len(GARBAGE) + 1, "answered": 1}

    @pytest.mark.parametrize("reply", [*FAILURES, *GARBAGE])
    def test_takes_each_of_these_forms(self, reply: Reply) -> None:
        with client_of_bureau(misbehave=script(reply)) as client:
            if isinstance(reply, HttpReply):
                answer = ask(client, "123456aa")
                assert (answer.status_code, answer.content) == (reply.status, reply.body)
                assert answer.headers["Content-Type"] == reply.content_type
                assert set(reply.headers) <= {(n.title(), v) for n, v in answer.headers.items()}
            elif reply is say_nothing:
                client.timeout = 0.3
                with pytest.raises(httpx2.ReadTimeout):
                    ask(client, "123456aa")
            else:
                with pytest.raises((httpx2.NetworkError, httpx2.RemoteProtocolError)):
                    ask(client, "123456aa")


class TestTheCommand:
    def test_prints_its_url_and_no_personal_data(self, forks: ForkServer) -> None:
        process, url = started(forks, "--latency=0")
        with client_of(url) as client:
            assert ask(client, "999999aa").json()["score"] == 9
            client.post("/scores?national_id=999999aa")
            client.get("/999999aa")
        assert re.fullmatch(r"credit bureau ready on http://127\.0\.0\.1:\d+\n", process.output)

    def test_says_in_one_line_that_its_port_is_taken(self) -> None:
        with running_bureau() as server:
            port = server.url.rpartition(":")[2]
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
    def test_ends_at_once_when_told_to(self, number: signal.Signals, forks: ForkServer) -> None:
        process, url = started(forks, f"--latency={10 * PATIENCE}")
        with client_of(url) as client, ThreadPoolExecutor() as threads:
            asking = threads.submit(ask, client, "123456aa")
            wait_until(lambda: client.get("/asks").json()["asked"], what="it is asked")
            os.kill(process.pid, number)
            assert process.wait(PATIENCE) == 0
            assert isinstance(asking.exception(PATIENCE), httpx2.TransportError)
        assert process.output.count("\n") == 1


def started(forks: ForkServer, *options: str) -> tuple[Forked, str]:
    """The command, and its URL once it is ready."""
    process = forks.start("clearing_house", "--port=0", *options)
    wait_until(lambda: process.output.endswith("\n"), what="it is ready")
    return process, process.output.split()[-1]
