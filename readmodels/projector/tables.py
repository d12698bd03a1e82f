"""The tables of rebuilds, which take the place of a read model's own table."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Final, TypeVar

from django.apps.registry import Apps
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.state import ModelState
from django.db.models import BaseConstraint, Index, Model

from readmodels.database import read_models_connection

Named = TypeVar("Named", Index, BaseConstraint)

# How long, in seconds, a new table waits for transactions that still read the old one. Later
# readers wait behind it.
SWITCH_WAIT_SECONDS: Final = 1


@lru_cache(maxsize=100)
def build_table(model: type[Model], build: int) -> type[Model]:
    """A model with the same columns, for the table of a rebuild."""
    state = ModelState.from_model(model)
    # In a registry of its own: the rest of Django must not know this model.
    state.options = {
        **state.options,
        "db_table": f"{model._meta.db_table}_{build}",
        "indexes": [_renamed(each, build) for each in model._meta.indexes],
        "constraints": [_renamed(each, build) for each in model._meta.constraints],
    }
    state.managers = []
    rendered: type[Model] = state.render(Apps())
    return rendered


def create_if_absent(table: type[Model]) -> bool:
    """Create the table of a rebuild unless it exists; returns whether it was created."""
    connection = read_models_connection()
    if table._meta.db_table in connection.introspection.table_names():
        return False
    with connection.schema_editor() as editor:
        editor.create_model(table)
    return True


def drop_if_present(table: type[Model]) -> None:
    """Drop the table of a rebuild."""
    connection = read_models_connection()
    with connection.cursor() as cursor:
        cursor.execute(f"DROP TABLE IF EXISTS {_quoted(connection, table._meta.db_table)}")


def put_in_place(table: type[Model], model: type[Model]) -> None:
    """Replace a read model's table by that of a rebuild. To be called inside a transaction.

    Raises:
        OperationalError: on PostgreSQL, somebody reads the old table for longer than a second.
    """
    connection = read_models_connection()
    old, new = (_quoted(connection, each._meta.db_table) for each in (model, table))
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(f"SET LOCAL lock_timeout = '{SWITCH_WAIT_SECONDS}s'")
        cursor.execute(f"DROP TABLE {old}")
        cursor.execute(f"ALTER TABLE {new} RENAME TO {old}")
        for statement in _renamings(connection, model, build_of(table)):
            cursor.execute(statement)


def build_of(table: type[Model]) -> int:
    """The number of the rebuild that a table belongs to."""
    return int(table._meta.db_table.rpartition("_")[2])


def _renamings(connection: BaseDatabaseWrapper, model: type[Model], build: int) -> Iterator[str]:
    """Statements that give indexes and constraints the names that migrations use."""
    for index in model._meta.indexes:
        name = _quoted(connection, index.name)
        built = _quoted(connection, _renamed(index, build).name)
        if connection.features.can_rename_index:
            yield f"ALTER INDEX {built} RENAME TO {name}"
        else:
            yield f"DROP INDEX {built}"
            yield str(index.create_sql(model, connection.schema_editor()))
    if connection.vendor == "sqlite":
        return  # There, the name of a constraint need only be unique in its table.
    for constraint in model._meta.constraints:
        table = _quoted(connection, model._meta.db_table)
        name = _quoted(connection, constraint.name)
        built = _quoted(connection, _renamed(constraint, build).name)
        yield f"ALTER TABLE {table} RENAME CONSTRAINT {built} TO {name}"


def _renamed(of_table: Named, build: int) -> Named:
    # Names are unique in the whole database, and have at most 30 characters.
    suffix = f"_{build}"
    renamed = of_table.clone()
    renamed.name = of_table.name[: Index.max_name_length - len(suffix)] + suffix
    return renamed


def _quoted(connection: BaseDatabaseWrapper, name: str) -> str:
    return connection.ops.quote_name(name)
