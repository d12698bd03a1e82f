"""Sends the read models to the database that is theirs, which may be the one of all the rest."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from django.conf import settings
from django.db import OperationalError, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Model

APP_LABEL = "readmodels"

# As long as SQLite itself waits for a writer in another process.
WAIT_TO_WRITE_SECONDS: Final = 20.0
# A transaction may be inside another one of its thread.
_writing: Final = threading.RLock()


class ReadModelsRouter:
    """A Django database router."""

    def db_for_read(self, model: type[Model], **hints: Any) -> str | None:
        return _database_of(model)

    def db_for_write(self, model: type[Model], **hints: Any) -> str | None:
        return _database_of(model)

    def allow_migrate(self, db: str, app_label: str, **hints: Any) -> bool | None:
        if app_label == APP_LABEL:
            return db == settings.READMODELS_DATABASE
        return None if db != "readmodels" else False


def _database_of(model: type[Model]) -> str | None:
    if model._meta.app_label != APP_LABEL:
        return None
    database: str = settings.READMODELS_DATABASE
    return database


def read_models_connection() -> BaseDatabaseWrapper:
    """This thread's connection to the read models' database, which need not be open."""
    return connections[settings.READMODELS_DATABASE]


@contextmanager
def read_models_transaction() -> Iterator[None]:
    """All or nothing, of what is changed in the read models' database.

    Raises:
        OperationalError: among others, another thread has been writing for too long.
    """
    with _turn_to_write(), transaction.atomic(using=settings.READMODELS_DATABASE):
        yield


@contextmanager
def _turn_to_write() -> Iterator[None]:
    """Have the threads of this process wait here for the one that SQLite lets write.

    Those who wait in SQLite sleep and ask again, which takes them some milliseconds more.
    """
    if read_models_connection().vendor != "sqlite":
        yield
        return
    if not _writing.acquire(timeout=WAIT_TO_WRITE_SECONDS):
        raise OperationalError("another thread has been writing for too long")
    try:
        yield
    finally:
        _writing.release()
