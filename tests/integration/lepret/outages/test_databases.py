"""What people see of a PostgreSQL that restarts, is down, hangs, or has no connection left."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from uuid import uuid4

import httpx2
import psycopg
import pytest
from websockets.exceptions import ConnectionClosed

from tests.integration.lepret.outages.conftest import System
from tests.support.processes import PATIENCE
from tests.support.stoppable_postgresql import StoppablePostgreSQL

PAGES = (
    "/",  # It says who is logged in.
    "/underwriting/",
    f"/loans/{uuid4()}/",
    "/accounts/",
    "/accounts/sessions/",
    "/admin/",
    "/admin/readmodels/loanrequest/",
    "/admin/readmodels/loanrequest/?q=smith",
    "/nothing-is-here/",
)
CALLS = (f"/api/loan-requests/{uuid4()}",)
TRY_AGAIN = 4013

Outage = Callable[[StoppablePostgreSQL], AbstractContextManager[None]]


@contextmanager
def restarted(postgresql: StoppablePostgreSQL) -> Iterator[None]:
    with postgresql.stopped("fast"):
        pass
    yield


@contextmanager
def crashed(postgresql: StoppablePostgreSQL) -> Iterator[None]:
    with postgresql.stopped("immediate"):
        pass
    yield


@contextmanager
def all_connections_ended(postgresql: StoppablePostgreSQL) -> Iterator[None]:
    with psycopg.connect(postgresql.new_database(), autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
            "WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        )
    yield


def all_at_once(system: System, paths: tuple[str, ...]) -> list[int]:
    """Get these pages at the same time; returns their statuses."""
    with ThreadPoolExecutor(len(paths)) as executor:
        return [answer.status_code for answer in executor.map(system.get, paths)]


@pytest.mark.parametrize("outage", [restarted, crashed, all_connections_ended])
class TestAfterItWasBack:
    def test_all_pages_are_shown(self, system: System, outage: Outage) -> None:
        before = all_at_once(system, PAGES * 3)
        assert max(before) < 500
        with outage(system.postgresql):
            assert all_at_once(system, PAGES * 3) == before

    def test_the_first_page_is_shown_however_many_connections_are_dead(
        self, system: System, outage: Outage
    ) -> None:
        all_at_once(system, PAGES * 3)
        with outage(system.postgresql):
            assert system.get("/underwriting/").status_code == 200


@contextmanager
def down(postgresql: StoppablePostgreSQL) -> Iterator[None]:
    with postgresql.stopped("fast"):
        yield


@pytest.mark.parametrize("outage", [down, StoppablePostgreSQL.frozen])
def test_while_it_does_not_answer_everything_is_503_and_says_when_to_try_again(
    system: System, outage: Outage
) -> None:
    paths = (*PAGES, *CALLS)
    with outage(system.postgresql), ThreadPoolExecutor(len(paths)) as executor:
        answers = dict(zip(paths, executor.map(system.get, paths), strict=True))
        assert {path: each.status_code for path, each in answers.items()} == dict.fromkeys(
            paths, 503
        )
        assert all("Retry-After" in each.headers for each in answers.values())
        assert "This page cannot be shown now" in answers["/underwriting/"].text
        assert is_problem(answers[CALLS[0]])
        assert system.web.get("/healthz").status_code == 200
        assert system.web.get("/").status_code == 200, "an applicant needs no database"
    assert max(all_at_once(system, paths)) < 500


def is_problem(answer: httpx2.Response) -> bool:
    return answer.headers["Content-Type"] == "application/problem+json"


def test_a_form_says_that_it_may_have_been_recorded_and_the_live_page_connects_again(
    system: System,
) -> None:
    with system.postgresql.stopped("fast"):
        login = system.post("/accounts/login/", username="boss", password="wrong")
        approval = system.post(f"/underwriting/{uuid4()}/approve/")
        with (
            httpx2.Client(cookies=system.cookies) as browser,
            system.web.websocket("/ws/underwriting/?for=1", browser) as socket,
            pytest.raises(ConnectionClosed) as closed,
        ):
            socket.recv(PATIENCE)
    for answer in (login, approval):
        assert answer.status_code == 503
        assert "may have been recorded or not" in answer.text
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == TRY_AGAIN


def test_an_applicants_request_is_recorded_without_it(system: System) -> None:
    application = {"name": "Ada", "national_id": f"{uuid4().int % 10**6:06}aa", "amount": 500}
    with system.postgresql.stopped("fast"):
        answer = system.ask("POST", "/api/loan-requests", json=application)
    assert answer.status_code == 201


def test_a_command_says_so_in_one_line(system: System) -> None:
    commands = (("api_token", "list"), ("migrate",), ("projections",), ("rebuild",))
    with system.postgresql.stopped("fast"), ThreadPoolExecutor(len(commands)) as executor:
        for done in executor.map(lambda arguments: system.manage(*arguments), commands):
            assert done.returncode == 1
            assert "Traceback" not in done.stderr
            assert "OperationalError" in done.stderr.splitlines()[-1]
