"""A real web server, as the demo and the image start it, with small limits."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.support.processes import PROJECT, resident_bytes, wait_until
from tests.support.valkey import RunningValkey
from tests.support.web_servers import Daphne, running_daphne

SECONDS_TO_START = 120.0


@pytest.fixture(scope="session")
def web_environment(
    tmp_path_factory: pytest.TempPathFactory, shared_valkey: RunningValkey
) -> dict[str, str]:
    """The variables of a web server with an empty database, and without an event store."""
    directory = tmp_path_factory.mktemp("front")
    environment = {
        **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
        "LEPRET_DATA_DIR": str(directory),
        "DJANGO_SECRET_KEY": "only-for-tests-" + "x" * 50,
        "DJANGO_HTTPS": "false",
        "EVENTSTORE_URI": "esdb://127.0.0.1:1?tls=false",
        "REDIS_URL": shared_valkey.url,
        "WEB_REQUEST_SECONDS": "2",
        "WEB_CONNECTIONS_PER_ADDRESS": "20",
        "WEB_SOCKETS_PER_ADDRESS": "3",
    }
    subprocess.run(
        [sys.executable, "manage.py", "migrate", "--verbosity", "0"],
        cwd=PROJECT,
        env=environment,
        check=True,
        timeout=2 * SECONDS_TO_START,
    )
    return environment


@pytest.fixture(scope="session")
def web(web_environment: dict[str, str]) -> Iterator[Daphne]:
    with running_daphne(web_environment) as server:
        wait_until(server.is_alive, SECONDS_TO_START)
        yield server


@pytest.fixture(scope="session")
def echo(web_environment: dict[str, str]) -> Iterator[Daphne]:
    """A web server whose websockets anybody may open."""
    with running_daphne(web_environment, "tests.support.echo_asgi:application") as server:
        wait_until(server.is_alive, SECONDS_TO_START)
        yield server


def memory_of(pid: int) -> float:
    """The memory of a process that is in RAM, in MB."""
    return resident_bytes(pid) / 2**20
