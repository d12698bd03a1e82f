"""Servers that speak EventStoreDB's protocol, each in processes of its own."""

from __future__ import annotations

import multiprocessing
import os
import select
import shlex
import signal
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Self

import pytest

from lepret.eventstore.__main__ import main
from lepret.eventstore.scavenge import scavenge_file
from tests.support.processes import PATIENCE, free_port, frozen, processes_of_group, wait_until

# A fresh interpreter spends a second on imports. Here one process has done them, and forks each
# server. It has imported pytest because multiprocessing imports the main program in each child.
_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload([name for name in (__name__, "pytest") if name in sys.modules])


class EventStoreDidNotStart(Exception):
    """The server ended or was silent; the message is what it printed."""


class RunningEventStore(ABC):
    """A real server, in processes, in a folder and on a port of its own."""

    def __init__(self, folder: Path, port: int) -> None:
        """Start it and wait until it is ready. Raises EventStoreDidNotStart."""
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.port = port
        self._start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def uri(self) -> str:
        """The URI that clients connect to."""
        return f"esdb://127.0.0.1:{self.port}?tls=false"

    @property
    @abstractmethod
    def pids(self) -> Sequence[int]:
        """The ids of the server's processes."""

    @abstractmethod
    def stop(self) -> None:
        """Stop it in order (SIGTERM)."""

    @abstractmethod
    def kill(self) -> None:
        """End it as a power cut would (SIGKILL)."""

    @abstractmethod
    def scavenge(self) -> None:
        """Remove for good what is hidden; it is stopped for that and started again."""

    def restart(self) -> None:
        """Start it again on the same folder and port, stopping it first if it runs."""
        self.stop()
        self._start()

    def crash(self) -> None:
        """Kill it and start it again."""
        self.kill()
        self._start()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """It is suspended while the block runs."""
        with frozen(*self.pids):
            yield

    @abstractmethod
    def _start(self) -> None:
        """Start it and wait until it is ready. Raises EventStoreDidNotStart."""


class EmbeddedEventStore(RunningEventStore):
    """The embedded server."""

    def __init__(
        self,
        folder: Path,
        port: int = 0,
        *,
        name: str = "events.sqlite3",
        accept_loss: bool = False,
    ) -> None:
        """Port 0 takes a free port; `name` is that of the file. Raises EventStoreDidNotStart."""
        self.data = folder / name
        self.accept_loss = accept_loss
        super().__init__(folder, port)

    @property
    def pid(self) -> int:
        """The server's process id."""
        assert self.process.pid is not None
        return self.process.pid

    @property
    def pids(self) -> Sequence[int]:
        return [self.pid]

    def stop(self) -> None:
        self.process.terminate()
        self._wait()

    def kill(self) -> None:
        self.process.kill()
        self._wait()

    def scavenge(self) -> None:
        self.stop()
        scavenge_file(self.data)
        self._start()

    def _wait(self) -> None:
        self.process.join(PATIENCE)
        if self.process.exitcode is None:
            self.process.kill()
            raise TimeoutError("the event store did not end")

    def _start(self) -> None:
        # The reading end stays open: the server may log until it ends.
        self._output, output = _forks.Pipe(duplex=False)
        arguments = ["--data", str(self.data), "--port", str(self.port)]
        arguments += ["--accept-loss"] if self.accept_loss else []
        self.process = _forks.Process(target=_serve, args=(arguments, output), daemon=True)
        self.process.start()
        output.close()
        printed = _first_line(self._output.fileno())
        if self.accept_loss and "accepted" in printed:
            printed = _first_line(self._output.fileno())
        if " ready on " not in printed:
            self.process.kill()
            raise EventStoreDidNotStart(printed.strip() or "it printed nothing in time")
        address = printed.split(" ready on ", 1)[1].split(" ", 1)[0]
        self.port = int(address.rsplit(":", 1)[1])


class CommandedEventStore(RunningEventStore):
    """A server that a command starts: a program, or a script around one."""

    def __init__(
        self,
        command: str,
        folder: Path,
        port: int = 0,
        *,
        seconds_to_start: float = PATIENCE,
    ) -> None:
        """Port 0 takes a free port. Raises EventStoreDidNotStart."""
        self._command = command
        self._seconds_to_start = seconds_to_start
        self._output_file = folder.with_name(f"{folder.name}.log")
        super().__init__(folder, port or free_port())

    @property
    def pids(self) -> Sequence[int]:
        return processes_of_group(self._process.pid)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def scavenge(self) -> None:
        pytest.skip("only the embedded event store is scavenged in its file")

    def _start(self) -> None:
        given = {"{port}": str(self.port), "{folder}": str(self.folder)}
        words = [_filled_in(word, given) for word in shlex.split(self._command)]
        try:
            with self._output_file.open("wb") as output:
                # A session of its own: a script's children are ended with it.
                self._process = subprocess.Popen(
                    words,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
        except OSError as error:
            raise EventStoreDidNotStart(str(error)) from error
        self._wait_until_live()

    def _wait_until_live(self) -> None:
        def has_become_live() -> bool:
            status = self._process.poll()
            assert status is None, f"it ended with status {status}"
            return is_live(f"127.0.0.1:{self.port}")

        try:
            wait_until(has_become_live, self._seconds_to_start)
        except AssertionError as error:
            self.kill()
            printed = self._output_file.read_text(errors="replace")
            raise EventStoreDidNotStart(f"{error}; it printed:\n{printed}") from None

    def _end(self, number: signal.Signals) -> None:
        self._signal(number)
        try:
            wait_until(self._has_ended, every=0.01)
        except AssertionError:
            self._signal(signal.SIGKILL)
            raise TimeoutError("the event store did not end") from None

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):  # It has ended.
            os.killpg(self._process.pid, number)

    def _has_ended(self) -> bool:
        return self._process.poll() is not None and not self.pids


def is_live(address: str) -> bool:
    """Whether the event store at `host:port` says that it is ready."""
    connection = HTTPConnection(address, timeout=2)
    try:
        connection.request("GET", "/health/live")
        return connection.getresponse().status == HTTPStatus.NO_CONTENT
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def _filled_in(word: str, given: Mapping[str, str]) -> str:
    for name, value in given.items():
        word = word.replace(name, value)
    return word


def _serve(arguments: list[str], output: Connection) -> None:
    """Run the command in the forked process."""
    for descriptor in (1, 2):
        os.dup2(output.fileno(), descriptor)
    sys.exit(main(arguments))


def _first_line(descriptor: int) -> str:
    """The output up to the end of the line; less if the process or the time ends before."""
    deadline = time.monotonic() + PATIENCE
    printed = b""
    while not printed.endswith(b"\n"):
        readable, _, _ = select.select([descriptor], [], [], max(0, deadline - time.monotonic()))
        piece = os.read(descriptor, 4096) if readable else b""
        if not piece:
            break
        printed += piece
    return printed.decode(errors="replace")
