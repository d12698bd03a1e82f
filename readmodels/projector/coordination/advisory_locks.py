"""PostgreSQL's advisory locks, which last as long as the database session that took them.

Each session is a connection of its own, outside Django's pool: when its process dies or is cut off,
all its locks are released. Poolers that share sessions between transactions break this.
"""

from __future__ import annotations

import os
import socket
import zlib
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from typing import Any, Final, Self

import psycopg
from psycopg.abc import RV, PQGen
from psycopg.rows import TupleRow

from readmodels.database import read_models_connection
from readmodels.projector.coordination.assignment import Projector, Projectors

CONNECT_SECONDS: Final = 3
STATEMENT_SECONDS: Final = 1.4

# The first of an advisory lock's two keys: what kind of lock it is. Other programs use others.
CANDIDACY: Final = 1_818_587_250
ASSIGNMENT: Final = 1_818_587_251
ONLY_ONE: Final = 1_818_587_252


def key_of(name: str) -> int:
    """The second of the two keys, the same in every process: 32 bits, as `pg_locks` shows them."""
    return zlib.crc32(name.encode())


def is_coordinated() -> bool:
    """Whether the read models' database has such locks."""
    return read_models_connection().vendor == "postgresql"


class LockSession:
    """A projector's session, whose locks tell all projectors what it can run and what it runs.

    If it is idle for longer than the lease, the server ends it. Connecting takes at most
    `CONNECT_SECONDS`, and each statement at most `STATEMENT_SECONDS`.

    Raises:
        psycopg.Error: from every method; the session is to be closed then.
    """

    def __init__(self, connection_parameters: Mapping[str, Any], *, lease_seconds: float) -> None:
        self._connection = _connect(
            connection_parameters,
            # PostgreSQL cuts it off after 63 bytes.
            application_name=f"lepret projector {os.getpid()}@{socket.gethostname()}",
            idle_session_timeout=lease_seconds,
        )
        self.candidate_for: frozenset[int] = frozenset()
        self.number: Final = self._connection.info.backend_pid

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def be_candidate_for(self, keys: frozenset[int]) -> None:
        """Tell the others that these projections can run here, and no further ones."""
        for key in sorted(keys - self.candidate_for):
            self._ask("SELECT pg_try_advisory_lock_shared(%s, %s)", CANDIDACY, key)
        for key in sorted(self.candidate_for - keys):
            self._ask("SELECT pg_advisory_unlock_shared(%s, %s)", CANDIDACY, key)
        self.candidate_for = keys

    def take(self, key: int) -> bool:
        """Assign a projection to this session, unless another has it; returns whether it was."""
        return self._ask("SELECT pg_try_advisory_lock(%s, %s)", ASSIGNMENT, key)

    def release(self, key: int) -> None:
        """Leave a projection to other sessions."""
        self._ask("SELECT pg_advisory_unlock(%s, %s)", ASSIGNMENT, key)

    def projectors(self) -> Projectors:
        """All projectors on this database, by the numbers of their sessions."""
        kinds = [CANDIDACY, ASSIGNMENT]
        rows = self._connection.execute(_PROJECTORS, [*kinds, *kinds])
        return {
            number: Projector(frozenset(candidate_for), frozenset(assigned))
            for number, candidate_for, assigned in rows
        }

    def _ask(self, sql: str, kind: int, key: int) -> bool:
        return _ask(self._connection, sql, kind, key)


# `objsubid` is 2 for a lock with two keys. The keys are shown as unsigned numbers.
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
    """Hold the lock of that name while the block runs; yields whether it was free.

    On SQLite, which has no such locks, it always is. If the session breaks, the lock is released
    while the block still runs. So it only saves double work: two blocks must be safe side by side.

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
            idle_session_timeout=0,  # It is idle as long as the block runs.
        )
    with closing(connection):
        with database.wrap_database_errors:
            is_free = _ask(
                connection, "SELECT pg_try_advisory_lock(%s, %s)", ONLY_ONE, key_of(what)
            )
        try:
            yield is_free
        finally:
            if is_free:
                # The server may notice only a moment later that the session is closed.
                with suppress(psycopg.Error):
                    _ask(connection, "SELECT pg_advisory_unlock(%s, %s)", ONLY_ONE, key_of(what))


class _BoundedConnection(psycopg.Connection[TupleRow]):
    """Has a timeout for every statement, for a server that has stopped answering."""

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


# With keepalives the server notices that the other side is gone. Connections through a Unix socket
# have none, and ignore these settings.
_SERVER_SETTINGS: Final = {
    "statement_timeout": _milliseconds(STATEMENT_SECONDS),
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "10000",
}


def _ask(connection: psycopg.Connection[TupleRow], sql: str, kind: int, key: int) -> bool:
    # PostgreSQL takes the key as a signed number.
    signed = key - 2**32 if key >= 2**31 else key
    row = connection.execute(sql.encode(), [kind, signed]).fetchone()
    assert row is not None, "a SELECT of one function gives one row"
    return bool(row[0])
