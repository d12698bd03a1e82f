"""Databases that are away: how they are told from a mistake, and how long they are waited for.

And connections by which to see whether they are.
"""

from __future__ import annotations

from typing import Final

from django.db import DatabaseError, InterfaceError, OperationalError, connections
from django.db.backends.base.base import BaseDatabaseWrapper

# PostgreSQL's, for what psycopg does not count as operational: a server that is no leader (any
# more), and one that has ended the connection in the middle of a transaction.
_SQLSTATES: Final = {"25006", "25P03", "25P04"}

# Seconds until a database must have answered: see `wait_no_longer_than`.
_seconds: float | None = None


def wait_no_longer_than(seconds: float | None) -> None:
    """Have all of this process give up a server that is silent for so long; `None`: never.

    For processes that answer people. A rebuild or a migration may take any time.
    """
    global _seconds  # noqa: PLW0603 (it is the process's)
    _seconds = seconds


def longest_wait() -> float | None:
    """Seconds until a database must have answered; `None`: any time."""
    return _seconds


def is_away(error: BaseException) -> bool:
    """Whether a database is gone, full, locked, damaged or not ready: it may be back later."""
    if isinstance(error, OperationalError | InterfaceError):
        return True
    if isinstance(error, DatabaseError):
        is_damaged_file = type(error) is DatabaseError  # As SQLite raises it.
        return is_damaged_file or getattr(error.__cause__, "sqlstate", "") in _SQLSTATES
    return False


def connection_outside_the_pool(alias: str) -> BaseDatabaseWrapper:
    """A new connection, which the caller closes. Requests that hang may have all of the pool."""
    connection = connections.create_connection(alias)
    options = {**connection.settings_dict["OPTIONS"]}
    options.pop("pool", None)
    connection.settings_dict = {**connection.settings_dict, "OPTIONS": options}
    return connection
