"""Starts management commands in processes of their own, without waiting for imports.

A real `manage.py` spends two seconds on imports. Here one process makes them once, and forks for
each command, which then runs as under `manage.py`. The process that forks has no connections, no
event store client and no threads.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.support.processes import PATIENCE, PROJECT, wait_until

# What the commands import.
_IMPORTED_BEFORE: Final = (
    "channels_redis.pubsub",
    "django.db.backends.postgresql.base",
    "django.db.backends.sqlite3.base",
    "loans.management.commands.check_credit",
    "loans.management.commands.clearing_house",
    "loans.management.commands.release_reservations",
    "psycopg_pool",
    "readmodels.management.commands.project",
    "readmodels.management.commands.projections",
    "readmodels.management.commands.rebuild",
)


@dataclass(frozen=True)
class Forked:
    """A command's process, which may have ended.

    Its `name` is its `application_name` in PostgreSQL, and what SQLite's `process_name()` returns.
    """

    name: str
    pid: int
    output_file: Path
    server: ForkServer = field(repr=False)

    @property
    def output(self) -> str:
        """Its output and log so far."""
        return self.output_file.read_text()

    @property
    def status(self) -> int | None:
        """Its exit status, or minus the signal that ended it; `None` while it runs."""
        return self.server.status_of(self.pid)

    def wait(self, timeout: float = PATIENCE) -> int:
        """Wait until it ends (seconds). Returns its status."""
        wait_until(lambda: self.status is not None, timeout, what=f"{self.name} ends", every=0.01)
        assert self.status is not None
        return self.status

    def kill(self) -> None:
        """Kill it without notice, and wait until it has ended."""
        self._signal(signal.SIGKILL)
        self.wait()

    def stop(self) -> int:
        """Send SIGTERM once it has a handler for that. Wait until it ends; returns its status."""
        wait_until(self._takes_sigterm, what=f"{self.name} takes SIGTERM", every=0.01)
        self._signal(signal.SIGTERM)
        return self.wait()

    def _takes_sigterm(self) -> bool:
        if self.status is not None:
            return True
        caught = re.search(r"^SigCgt:\s*(\w+)$", _status_file(self.pid), re.MULTILINE)
        return caught is not None and bool(int(caught[1], 16) >> (signal.SIGTERM - 1) & 1)

    def _signal(self, number: signal.Signals) -> None:
        # As long as nobody has read its exit status, no other process can get its pid.
        if self.status is None:
            os.kill(self.pid, number)


def _status_file(pid: int) -> str:
    return Path(f"/proc/{pid}/status").read_text()


class ForkServer:
    """The process that forks, in a copy of the project. Threads can share it."""

    def __init__(
        self, environment: Mapping[str, str], output_dir: Path, project: Path = PROJECT
    ) -> None:
        self._output_dir = output_dir
        self._lock = threading.Lock()
        self._statuses: dict[int, int] = {}
        self._running: list[Forked] = []
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.fork_server"],
            cwd=project,
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._answer() == "ready"

    def start(
        self,
        *arguments: str,
        name: str = "",
        has_own_groups: bool = False,
        settings: Mapping[str, object] | None = None,
    ) -> Forked:
        """Start a command.

        `settings` replace Django settings there. With `has_own_groups` its channel-layer groups
        are prefixed with its name: a listener to all groups then sees who sent a message.
        """
        name = name or f"{arguments[0]}-{len(self._running)}"
        output_file = self._output_dir / f"{name}.log"
        output_file.touch()
        pid = self._ask(
            {
                "arguments": arguments,
                "name": name,
                "output_file": str(output_file),
                "has_own_groups": has_own_groups,
                "settings": dict(settings or {}),
            }
        )
        forked = Forked(name, pid, output_file, self)
        self._running.append(forked)
        return forked

    def run(self, *arguments: str) -> Forked:
        """Run a command to its end."""
        forked = self.start(*arguments)
        forked.wait()
        return forked

    def status_of(self, pid: int) -> int | None:
        """The exit status of a process that it has forked; `None` while that runs."""
        if pid not in self._statuses:
            status = self._ask({"status_of": pid})
            if status is None:
                return None
            self._statuses[pid] = status
        return self._statuses[pid]

    def close(self) -> None:
        """End it and the processes that it forked."""
        for forked in self._running:
            forked.kill()
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(PATIENCE)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _ask(self, question: Mapping[str, object]) -> Any:
        assert self._process.stdin is not None
        with self._lock:
            self._process.stdin.write(json.dumps(question) + "\n")
            self._process.stdin.flush()
            return self._answer()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())


@contextmanager
def fork_server(
    environment: Mapping[str, str], output_dir: Path, project: Path = PROJECT
) -> Iterator[ForkServer]:
    """A fork server with these variables; the commands' output goes to `output_dir`."""
    server = ForkServer(environment, output_dir, project)
    try:
        yield server
    finally:
        server.close()


# In the process that forks -----------------------------------------------------------------


def _serve() -> None:
    """Answer questions until there are no more; in a forked process, run the command."""
    _import_everything()
    _say("ready")
    pids: set[int] = set()
    for line in sys.stdin:
        question = json.loads(line)
        if "status_of" in question:
            _say(_status_of(question["status_of"], pids))
            continue
        pid = os.fork()
        if pid == 0:
            _become(question)
            _run(question["arguments"])
            return
        pids.add(pid)
        _say(pid)
    # The process that started this one is gone.
    for pid in pids:
        os.kill(pid, signal.SIGKILL)


def _import_everything() -> None:
    import django  # noqa: PLC0415 (not in the process that only asks)

    django.setup()
    for module in _IMPORTED_BEFORE:
        importlib.import_module(module)
    gc.freeze()  # So that forked processes copy less memory.


def _say(answer: object) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def _status_of(pid: int, pids: set[int]) -> int | None:
    ended, status = os.waitpid(pid, os.WNOHANG)
    if not ended:
        return None
    pids.remove(pid)
    return os.waitstatus_to_exitcode(status)


# In a process that was forked --------------------------------------------------------------


def _become(question: Mapping[str, Any]) -> None:
    nothing = os.open(os.devnull, os.O_RDONLY)
    output = os.open(question["output_file"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for number, descriptor in enumerate((nothing, output, output)):
        os.dup2(descriptor, number)
    _configure(question["name"], question["settings"], has_own_groups=question["has_own_groups"])


def _configure(name: str, changed: Mapping[str, object], *, has_own_groups: bool) -> None:
    from django.conf import settings  # noqa: PLC0415 (not in the process that only asks)
    from django.db.backends.signals import connection_created  # noqa: PLC0415

    for setting, value in changed.items():
        setattr(settings, setting, value)
    os.environ["PGAPPNAME"] = name
    if has_own_groups:
        settings.CHANNEL_LAYERS["default"]["CONFIG"]["prefix"] = name

    def introduce(*, connection: Any, **_: object) -> None:
        if connection.vendor == "sqlite":
            connection.connection.create_function("process_name", 0, lambda: name)

    connection_created.connect(introduce, weak=False)


def _run(arguments: Sequence[str]) -> None:
    from django.core.management import execute_from_command_line  # noqa: PLC0415

    execute_from_command_line(["manage.py", *arguments])


if __name__ == "__main__":
    _serve()
