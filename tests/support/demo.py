"""A real `manage.py demo` for tests, on a free port and with a data directory of its own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from dotenv import dotenv_values

from tests.support.event_store import IS_EMBEDDED, running_event_store
from tests.support.processes import PATIENCE, PROJECT, Process, descendants, free_port, wait_until
from tests.support.web_servers import WebServer

SECONDS_TO_START = 120.0

# Each child, by a part of its command line.
COMMANDS = {
    "store": "lepret.eventstore",
    "valkey": "valkey-server",
    "project": "manage.py project",
    "credit": "manage.py check_credit",
    "release": "manage.py release_reservations",
    "web": "daphne",
}

EVENT_STORE = "EVENTSTORE_URI"

_NOT_PASSED_ON = ("DJANGO_", "LEPRET_", "EVENTSTORE_", "REDIS_", "CREDIT_BUREAU_")


@dataclass(frozen=True)
class Demo(WebServer):
    """A demo, which may have ended."""

    process: subprocess.Popen[bytes]
    data_dir: Path
    output_file: Path
    environment: Mapping[str, str] = field(repr=False)

    @property
    def output(self) -> str:
        """What it has printed so far."""
        return self.output_file.read_text(errors="replace")

    @property
    def published(self) -> dict[str, str]:
        """The variables that it has saved for commands in other terminals."""
        variables = dotenv_values(self.data_dir / "demo.env")
        return {name: value for name, value in variables.items() if value is not None}

    @property
    def ports(self) -> list[int]:
        """The ports that its processes listen on."""
        published = self.published
        uris = [published[name] for name in (EVENT_STORE, "REDIS_URL")]
        return [self.port, *(port for uri in uris if (port := urlsplit(uri).port))]

    def manage(
        self, *arguments: str, timeout: float = PATIENCE
    ) -> subprocess.CompletedProcess[str]:
        """Run a management command that finds this demo, as in a second terminal."""
        return subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=PROJECT,
            env={**self.environment, "LEPRET_DATA_DIR": str(self.data_dir)},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def children(self) -> list[Process]:
        """Its running processes."""
        return descendants(self.process.pid)

    def pid_of(self, name: str) -> int | None:
        """The process id of the child with this name in `COMMANDS`."""
        for child in self.children():
            if COMMANDS[name] in child.command_line:
                return child.pid
        return None

    def kill(self, name: str) -> int:
        """Kill the child with this name in `COMMANDS`. Returns its process id."""
        pid = wait_until(lambda: self.pid_of(name), SECONDS_TO_START)
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        return pid

    def wait(self, timeout: float = PATIENCE) -> int:
        """Wait until it ends. Returns its exit status; raises if that takes longer (seconds)."""
        return self.process.wait(timeout)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal that ends it, and wait until it has. Returns its exit status."""
        self.process.send_signal(number)
        return self.wait()


@contextlib.contextmanager
def started_demo(
    data_dir: Path,
    *arguments: str,
    port: int | None = None,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Demo]:
    """A demo that was just started; it is ended at the end of the block."""
    port = port or free_port()
    environment = {**_environment(), **(environment or {})}
    command = [sys.executable, "manage.py", "demo", "--port", str(port)]
    with tempfile.NamedTemporaryFile(prefix="demo-", suffix=".log") as output:
        process = subprocess.Popen(
            [*command, "--data-dir", str(data_dir), *arguments],
            cwd=PROJECT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            yield Demo(port, process, data_dir, Path(output.name), environment)
        finally:
            _end(process)


@contextlib.contextmanager
def running_demo(
    data_dir: Path,
    *arguments: str,
    environment: Mapping[str, str] | None = None,
    **options: Any,
) -> Iterator[Demo]:
    """A demo that is ready; arguments and options as for `started_demo`.

    Where a variable names another event store, it gets one of its own.

    Raises:
        AssertionError: it was not ready within `SECONDS_TO_START`; the message has its output.
    """
    with (
        _event_store_beside(data_dir, environment or {}) as named,
        started_demo(data_dir, *arguments, environment=named, **options) as demo,
    ):

        def is_up() -> bool:
            ended = demo.process.poll() is not None
            assert not ended, f"the demo ended:\n{demo.output}"
            return "lepret is ready" in demo.output

        try:
            wait_until(is_up, SECONDS_TO_START)
        except AssertionError as error:
            raise AssertionError(f"the demo is not ready:\n{demo.output}") from error
        yield demo


def decide_at_once(demo: Demo, **changes: Any) -> None:
    """Have decisions sent as soon as they are made, for tests that are not about undoing them.

    `changes` are other fields of the policy. Its next version is in force, and known to the pages,
    when this returns.
    """
    policy = json.loads(demo.manage("policy", "show", "--json").stdout)
    file = demo.data_dir.with_name("decide-at-once.json")
    file.write_text(json.dumps(policy | {"undo_seconds": 0} | changes))
    for arguments in (
        ("publish", str(file), "--by", "policy"),
        ("confirm", "2", "--by", "policy-second"),
    ):
        done = demo.manage("policy", *arguments)
        assert done.returncode == 0, done.stderr
    with demo.browser("underwriter", "underwriter") as browser:
        known = 'data-undo-seconds="0"'
        wait_until(lambda: known in browser.get("/underwriting/").text, SECONDS_TO_START)


@contextlib.contextmanager
def _event_store_beside(
    data_dir: Path, environment: Mapping[str, str]
) -> Iterator[Mapping[str, str]]:
    """The variables of a demo that starts no event store where tests use another one."""
    if IS_EMBEDDED or EVENT_STORE in environment:
        yield environment
        return
    with running_event_store(data_dir.with_name(f"{data_dir.name}-events")) as store:
        yield {**environment, EVENT_STORE: store.uri}


def _environment() -> dict[str, str]:
    """This process's environment without the variables that the project reads."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(_NOT_PASSED_ON) and not name.endswith("DATABASE_URL")
    }
    return {**kept, "DJANGO_SETTINGS_MODULE": "lepret.settings"}


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(SECONDS_TO_START)
    except subprocess.TimeoutExpired:
        process.kill()  # the kernel ends its children with it
        process.wait()
