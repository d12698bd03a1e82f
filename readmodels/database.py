"""The read models' database: the default database, or one of their own."""

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

# As long as SQLite waits for a writer in another process.
WAIT_TO_WRITE_SECONDS: Final = 20.0
# Reentrant, since transactions can be nested.
_writing: Final = threading.RLock()


class ReadModelsRouter:
    """Routes the read models to their database (a Django database router)."""

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
    """This thread's connection to the read models' database, open or not."""
    return connections[settings.READMODELS_DATABASE]


@contextmanager
def read_models_transaction() -> Iterator[None]:
    """A transaction in the read models' database.

    Raises:
        OperationalError: among others, if another thread has been writing for too long.
    """
    with _only_writer(), transaction.atomic(using=settings.READMODELS_DATABASE):
        yield


@contextmanager
def _only_writer() -> Iterator[None]:
    """On SQLite, let only one thread of this process write at a time.

    SQLite itself lets the others sleep and retry, which takes some milliseconds longer.
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
