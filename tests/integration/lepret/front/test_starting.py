"""The front's limits hold however the web server is started."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from daphne import server
from daphne.http_protocol import HTTPFactory, WebRequest
from daphne.ws_protocol import WebSocketFactory

from lepret.front import factories
from tests.support.processes import PROJECT, free_port, wait_until
from tests.support.raw_http import connected
from tests.support.web_servers import Daphne, running_daphne

SECONDS_TO_START = 120.0


@contextmanager
def started_by_daphne(environment: dict[str, str]) -> Iterator[Daphne]:
    with running_daphne(environment) as web:
        yield web


@contextmanager
def started_by_runserver(environment: dict[str, str]) -> Iterator[Daphne]:
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "manage.py", "runserver", "--noreload", f"127.0.0.1:{port}"],
        cwd=PROJECT,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield Daphne(port, process.pid)
    finally:
        process.kill()
        process.wait(SECONDS_TO_START)


@pytest.mark.parametrize("started", [started_by_daphne, started_by_runserver])
def test_a_large_body_is_refused_and_a_root_path_ignored(
    web_environment: dict[str, str], started: object
) -> None:
    assert callable(started)
    with started(web_environment) as web:
        wait_until(web.is_alive, SECONDS_TO_START)
        with connected(web) as connection:
            assert connection.ask("POST /", "Content-Length: 20000000").status == 413
        with connected(web) as connection:
            answer = connection.ask("GET /loans/metrics", "Daphne-Root-Path: /loans")
            assert answer.status == 404
        with connected(web) as connection:
            assert connection.closes(trickle=b"x")


def test_daphne_takes_its_factories_from_where_they_are_replaced(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server, "HTTPFactory", HTTPFactory)
    monkeypatch.setattr(server, "WebSocketFactory", WebSocketFactory)

    factories.install()

    assert issubclass(server.HTTPFactory, HTTPFactory)
    assert server.HTTPFactory is not HTTPFactory
    assert server.WebSocketFactory is not WebSocketFactory
    assert {"HTTPFactory", "WebSocketFactory"} <= set(server.Server.run.__code__.co_names)
    assert callable(WebRequest.process)
