"""Which errors mean that a database is away."""

from __future__ import annotations

import psycopg
import pytest
from django.db import DatabaseError, Error, InterfaceError, InternalError, OperationalError
from django.db.utils import DataError, IntegrityError, ProgrammingError

from lepret.common.databases import is_away


def caused_by(error: Error, cause: Exception) -> Error:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    "error",
    [
        OperationalError(),
        InterfaceError("connection already closed"),
        DatabaseError("file is not a database"),
        caused_by(InternalError(), psycopg.errors.ReadOnlySqlTransaction()),
        caused_by(InternalError(), psycopg.errors.IdleInTransactionSessionTimeout()),
    ],
    ids=["no answer", "closed", "a damaged file", "no leader", "ended by the server"],
)
def test_a_database_that_is_away(error: Error) -> None:
    assert is_away(error)


@pytest.mark.parametrize(
    "error",
    [
        caused_by(ProgrammingError(), psycopg.errors.UndefinedTable()),
        caused_by(InternalError(), psycopg.errors.InFailedSqlTransaction()),
        DataError(),
        IntegrityError(),
        KeyError(),
    ],
    ids=["no such table", "a failed transaction", "data", "integrity", "no database's"],
)
def test_a_mistake_is_none(error: Exception) -> None:
    assert not is_away(error)
