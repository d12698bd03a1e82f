"""Sends the read models to the database that is theirs, which may be the one of all the rest."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db import connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Model

APP_LABEL = "readmodels"


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


def read_models_transaction() -> transaction.Atomic:
    """All or nothing, of what is changed in the read models' database."""
    return transaction.atomic(using=settings.READMODELS_DATABASE)
