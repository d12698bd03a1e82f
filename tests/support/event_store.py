"""A running embedded event store, for tests that need one."""

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.processes import PROJECT

READY_WITHIN = 20.0
"""Seconds within which the server must say that it is ready."""

STOP_WITHIN = 10.0
"""Seconds within which the server must end once it is told to."""


class EventStoreDidNotStart(Exception):
    """The server ended or was silent; the message is what it said on stderr."""


class RunningEventStore:
    """The real server as a process of its own, on a port of its own."""

    def __init__(self, data: Path, port: int = 0) -> None:
        """Start it and wait until it is ready. Raises EventStoreDidNotStart."""
        self.data = data
        self.port = port
        self.process: subprocess.Popen[bytes]
        self._start()

    @property
    def uri(self) -> str:
        """What an EventStoreDB client connects to."""
        return f"esdb://127.0.0.1:{self.port}?tls=false"

    def kill(self) -> None:
        """End it as a power cut would (SIGKILL)."""
        self._end(signal.SIGKILL)

    def stop(self) -> float:
        """End it politely (SIGTERM); returns the seconds that took."""
        began = time.monotonic()
        self._end(signal.SIGTERM)
        return time.monotonic() - began

    def restart(self) -> None:
        """Start it again on the same file and port, stopping it first if it runs."""
        self.stop()
        self._start()

    def _end(self, with_signal: signal.Signals) -> None:
        if self.process.poll() is None:
            self.process.send_signal(with_signal)
        try:
            self.process.wait(STOP_WITHIN)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        finally:
            self._close_pipes()

    def _close_pipes(self) -> None:
        for pipe in (self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()

    def _start(self) -> None:
        self.process = start_event_store(self.data, self.port)
        line = _first_line(self.process, READY_WITHIN)
        if " ready on " not in line:
            raise EventStoreDidNotStart(self._last_words())
        address = line.split(" ready on ", 1)[1].split(" ", 1)[0]
        self.port = int(address.rsplit(":", 1)[1])

    def _last_words(self) -> str:
        self.process.kill()
        _, words = self.process.communicate()
        return words.decode(errors="replace").strip() or "it said nothing in time"


@contextmanager
def running_event_store(data: Path, port: int = 0) -> Iterator[RunningEventStore]:
    """A server on ``data``, made if absent; port 0 takes a free one."""
    store = RunningEventStore(data, port)
    try:
        yield store
    finally:
        store.stop()


def start_event_store(data: Path, port: int = 0) -> subprocess.Popen[bytes]:
    """The bare process, for tests of how it starts and refuses to."""
    return subprocess.Popen(
        [sys.executable, "-m", "lepret.eventstore", "--data", str(data), "--port", str(port)],
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def _first_line(process: subprocess.Popen[bytes], seconds: float) -> str:
    """The first line on stdout; empty when the process ends or takes too long."""
    assert process.stdout is not None
    descriptor = process.stdout.fileno()
    deadline = time.monotonic() + seconds
    line = b""
    while not line.endswith(b"\n"):
        readable, _, _ = select.select([descriptor], [], [], max(0, deadline - time.monotonic()))
        piece = os.read(descriptor, 4096) if readable else b""
        if not piece:
            return ""
        line += piece
    return line.decode()
