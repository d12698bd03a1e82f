"""A running embedded event store, for tests that need one."""

import multiprocessing
import os
import select
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

from lepret.eventstore.__main__ import main

WITHIN = 30.0
"""The timeout of everything that tests wait for, in seconds."""

# A fresh interpreter spends a second on imports. Here one process has done them, and forks each
# server. It has imported pytest because multiprocessing imports the main program in each child.
_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload([name for name in (__name__, "pytest") if name in sys.modules])


class EventStoreDidNotStart(Exception):
    """The server ended or was silent; the message is what it printed."""


class RunningEventStore:
    """The real server, in a process and on a port of its own."""

    def __init__(self, data: Path, port: int = 0, *, accept_loss: bool = False) -> None:
        """Start it and wait until it is ready. Raises EventStoreDidNotStart."""
        self.data = data
        self.port = port
        self.accept_loss = accept_loss
        self._start()

    @property
    def uri(self) -> str:
        """The URI that clients connect to."""
        return f"esdb://127.0.0.1:{self.port}?tls=false"

    @property
    def pid(self) -> int:
        """The server's process id."""
        assert self.process.pid is not None
        return self.process.pid

    def stop(self) -> None:
        """Stop it in order (SIGTERM)."""
        self.process.terminate()
        self._wait()

    def kill(self) -> None:
        """End it as a power cut would (SIGKILL)."""
        self.process.kill()
        self._wait()

    def restart(self) -> None:
        """Start it again on the same file and port, stopping it first if it runs."""
        self.stop()
        self._start()

    def crash(self) -> None:
        """Kill it and start it again."""
        self.kill()
        self._start()

    def _wait(self) -> None:
        self.process.join(WITHIN)
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


@contextmanager
def running_event_store(
    data: Path, port: int = 0, *, accept_loss: bool = False
) -> Iterator[RunningEventStore]:
    """A server on the file ``data``, which is created if absent; port 0 takes a free port."""
    store = RunningEventStore(data, port, accept_loss=accept_loss)
    try:
        yield store
    finally:
        store.stop()


def _serve(arguments: list[str], output: Connection) -> None:
    """Run the command in the forked process."""
    for descriptor in (1, 2):
        os.dup2(output.fileno(), descriptor)
    sys.exit(main(arguments))


def _first_line(descriptor: int) -> str:
    """The output up to the end of the line; less if the process or the time ends before."""
    deadline = time.monotonic() + WITHIN
    printed = b""
    while not printed.endswith(b"\n"):
        readable, _, _ = select.select([descriptor], [], [], max(0, deadline - time.monotonic()))
        piece = os.read(descriptor, 4096) if readable else b""
        if not piece:
            break
        printed += piece
    return printed.decode(errors="replace")
