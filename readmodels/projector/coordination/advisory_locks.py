"""Locks in PostgreSQL that last as long as the database session that took them.

Each session is a connection of its own, outside Django's pool: whoever dies, or is cut off, lets go
of all it holds, without a word. A pooler that shares sessions between transactions breaks this.
"""

from __future__ import annotations

import os
import socket
import zlib
from collections.abc import Collection, Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Any, Final, Self

import psycopg
from psycopg.abc import RV, PQGen
from psycopg.rows import TupleRow

from readmodels.database import read_models_connection
from readmodels.projector.coordination.assignment import Look, Projector

CONNECT_SECONDS: Final = 3
STATEMENT_SECONDS: Final = 1.4

# The server ends a session of which it has not heard for so long: that of a projector which hangs,
# or is cut off, while the kernel of either side still believes in the connection.
LEASE_SECONDS: Final = 1.4

# The first of an advisory lock's two keys: what is locked. Other programs have others.
CANDIDACY: Final = 1_818_587_250
RUN: Final = 1_818_587_251
ONLY_ONE: Final = 1_818_587_252


def key_of(name: str) -> int:
    """The second of the two keys, the same in every process: 32 bits, as `pg_locks` shows them."""
    return zlib.crc32(name.encode())


def is_coordinated() -> bool:
    """Whether the read models' database has such locks."""
    return read_models_connection().vendor == "postgresql"


class LockSession:
    """A projector's session: what it can run and what it runs, for all projectors to see.

    It must look at least every `LEASE_SECONDS`, or the server ends it. To connect it waits for at
    most `CONNECT_SECONDS`, and for each lock or look for at most `STATEMENT_SECONDS`.

    Raises:
        psycopg.Error: from every method; the session is to be closed then.
    """

    def __init__(self, connection_parameters: Mapping[str, Any]) -> None:
        self._connection = _connect(
            connection_parameters,
            # PostgreSQL cuts it off after 63 bytes.
            application_name=f"lepret projector {os.getpid()}@{socket.gethostname()}",
            idle_session_timeout=LEASE_SECONDS,
        )
        self._candidate_of: set[int] = set()
        self.number: Final = self._connection.info.backend_pid

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def become_candidate(self, keys: Collection[int]) -> None:
        """Say that these projections could run here."""
        for key in keys:
            self._ask("SELECT pg_try_advisory_lock_shared(%s, %s)", CANDIDACY, key)
            self._candidate_of.add(key)

    def withdraw(self) -> None:
        """Say that no further projection will run here."""
        while self._candidate_of:
            key = self._candidate_of.pop()
            self._ask("SELECT pg_advisory_unlock_shared(%s, %s)", CANDIDACY, key)

    def take(self, key: int) -> bool:
        """Take a projection, unless another session has it."""
        return self._ask("SELECT pg_try_advisory_lock(%s, %s)", RUN, key)

    def release(self, key: int) -> None:
        self._ask("SELECT pg_advisory_unlock(%s, %s)", RUN, key)

    def look(self) -> Look:
        """All projectors on this database, by the numbers of their sessions."""
        rows = self._connection.execute(_PROJECTORS, [CANDIDACY, RUN, CANDIDACY, RUN])
        return {
            number: Projector(candidate_of=frozenset(candidate_of), runs=frozenset(runs))
            for number, candidate_of, runs in rows
        }

    def _ask(self, sql: str, kind: int, key: int) -> bool:
        return _ask(self._connection, sql, kind, key)


# `objsubid` is 2 where a lock has two keys. The keys are shown without a sign.
_PROJECTORS: Final = """
    SELECT pid,
           coalesce(array_agg(objid::bigint) FILTER (WHERE classid = %s), '{}'),
           coalesce(array_agg(objid::bigint) FILTER (WHERE classid = %s), '{}')
    FROM pg_locks
    WHERE locktype = 'advisory' AND objsubid = 2 AND granted AND classid IN (%s, %s)
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    GROUP BY pid
"""


@contextmanager
def only_one(what: str) -> Iterator[bool]:
    """Take the lock of that name until this is left; gives whether it was free.

    On SQLite there is no such lock, and it is always had. Should its session break meanwhile, the
    lock is gone without a word: what it spares is double work, and what is done under it must be
    safe all the same.

    Raises:
        OperationalError: Django's; the database is away.
    """
    if not is_coordinated():
        yield True
        return
    database = read_models_connection()
    with database.wrap_database_errors:
        connection = _connect(
            database.get_connection_params(),
            application_name=f"lepret {what}",
            idle_session_timeout=0,  # Nothing is asked while the job lasts.
        )
    with closing(connection):
        with database.wrap_database_errors:
            is_had = _ask(connection, "SELECT pg_try_advisory_lock(%s, %s)", ONLY_ONE, key_of(what))
        yield is_had


class _BoundedConnection(psycopg.Connection[TupleRow]):
    """Does not wait for ever where the server has stopped answering."""

    def wait(self, gen: PQGen[RV], interval: float = 0.1, timeout: float | None = None) -> RV:
        return super().wait(gen, interval, timeout or STATEMENT_SECONDS)


def _connect(
    connection_parameters: Mapping[str, Any],
    *,
    application_name: str,
    idle_session_timeout: float,
) -> _BoundedConnection:
    connection = _BoundedConnection.connect(
        **{
            **connection_parameters,
            "application_name": application_name,
            "autocommit": True,
            "connect_timeout": CONNECT_SECONDS,
        }
    )
    idle = {"idle_session_timeout": _milliseconds(idle_session_timeout)}
    try:
        connection.cursor().executemany(
            "SELECT set_config(%s, %s, false)", list((_SERVER_SETTINGS | idle).items())
        )
    except psycopg.Error:
        connection.close()
        raise
    return connection


def _milliseconds(seconds: float) -> str:
    return f"{round(seconds * 1000)}ms"


# With keepalives the server notices, without being asked anything, that the other side is gone. A
# connection through a Unix socket has none, and takes no offence.
_SERVER_SETTINGS: Final = {
    "statement_timeout": _milliseconds(STATEMENT_SECONDS),
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "10000",
}


def _ask(connection: psycopg.Connection[TupleRow], sql: str, kind: int, key: int) -> bool:
    # PostgreSQL takes the key with a sign.
    signed = key - 2**32 if key >= 2**31 else key
    row = connection.execute(sql.encode(), [kind, signed]).fetchone()
    assert row is not None, "a SELECT of one function gives one row"
    return bool(row[0])
