"""A database for the read models of one test, as with `READMODELS_DATABASE_URL`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import uuid4

from django.core.management import call_command
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.postgresql.base import DatabaseWrapper as PostgreSQLWrapper
from pytest_django import Settings

from lepret.environment import database_settings


@dataclass(frozen=True)
class ReadModelsDatabase:
    """The read models' database of a test: an alias in this process, a URL for other processes."""

    alias: str
    url: str

    def forget_connections(self) -> None:
        """Close all connections, so that new ones get the server's present settings."""
        _close(connections[self.alias])


@contextmanager
def read_models_at(
    url: str, settings: Settings, *, is_migrated: bool = False
) -> Iterator[ReadModelsDatabase]:
    """Use the database at `url` for the read models, migrate it, and close its connections."""
    alias = f"readmodels-{uuid4().hex}"
    databases = {"default": settings.DATABASES["default"], alias: database_settings(url)}
    connections.settings[alias] = connections.configure_settings(databases)[alias]
    settings.READMODELS_DATABASE = alias
    try:
        if not is_migrated:
            call_command("migrate", "readmodels", database=alias, verbosity=0)
        yield ReadModelsDatabase(alias, url)
    finally:
        _close(connections[alias])
        del connections[alias]
        del connections.settings[alias]


def _close(connection: BaseDatabaseWrapper) -> None:
    connection.close()
    if isinstance(connection, PostgreSQLWrapper):
        connection.close_pool()
