"""Web servers for benchmarks: they belong to a demo, and serve more than the demo's own does."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx2

from lepret.demo.ports import free_port
from tests.support.demo import Demo
from tests.support.processes import wait_until

PROJECT: Final = Path(__file__).resolve().parent.parent
SECONDS_TO_START: Final = 60.0


@dataclass(frozen=True)
class WebServer:
    """A web server that runs; its `url` has no slash at the end."""

    url: str
    pid: int


@contextlib.contextmanager
def running_web_server(demo: Demo, application: str, **environment: str) -> Iterator[WebServer]:
    """A web server beside the demo's own, started as that one is, which serves `application`.

    `environment` has the settings in which it differs from the demo.

    Raises:
        AssertionError: it was not ready within `SECONDS_TO_START`.
    """
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    own = {"LEPRET_DATA_DIR": str(demo.data_dir), **environment}
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "daphne", "--verbosity", "0"),
            *("-b", "127.0.0.1", "-p", str(port), application),
        ],
        cwd=PROJECT,
        env={**demo.environment, **demo.published, **own},
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: _is_ready(url), SECONDS_TO_START)
        yield WebServer(url, process.pid)
    finally:
        process.terminate()
        process.wait(10)


def _is_ready(url: str) -> bool:
    with contextlib.suppress(httpx2.TransportError):
        answer = httpx2.get(f"{url}/readyz", timeout=5, trust_env=False)
        return answer.status_code == httpx2.codes.OK
    return False
