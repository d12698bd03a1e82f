"""Databases that are away: how they are told from a mistake, and how long they are waited for."""

from __future__ import annotations

from typing import Final

from django.db import DatabaseError, InterfaceError, OperationalError

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
