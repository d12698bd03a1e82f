"""The statements that write many rows of a read model at once, without making model instances.

`bulk_create` writes every column of every row, though most rows say nothing of most columns, and
`bulk_update` a CASE with a branch for each row. Both, and `Field.get_db_prep_save`, take longer
than the database does. The statements contain only names from the model; the values are parameters.

PostgreSQL gets the rows as one JSON document, and SQLite a list of parameters for each row.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache, partial
from typing import Any, Final
from uuid import UUID

from django.db import models
from django.db.models import Field, Model

from readmodels.database import read_models_connection

Values = Mapping[str, Any]
Convert = Callable[[Any], Any]

_UTC: Final = "+00:00"


def insert(
    table: type[Model], columns: Sequence[str], rows: Sequence[Values], *, replacing: bool
) -> None:
    """Insert rows of these columns; `replacing` those that exist, if any.

    Raises:
        IntegrityError: a row exists already, and is not to be replaced.
    """
    _send(_insert(table, tuple(columns), replacing, _vendor()), table, columns, rows)


def update(
    table: type[Model], columns: Sequence[str], keys: Sequence[str], rows: Sequence[Values]
) -> None:
    """Set these columns of the rows with these keys; rows that do not exist are left out."""
    sql = _update(table, tuple(columns), tuple(keys), _vendor())
    _send(sql, table, (*columns, *keys), rows)


def update_one(table: type[Model], values: Values, where: Values) -> bool:
    """Set columns of the one row that has the values `where`, if any; returns whether it has."""
    sql = _update_by_parameters(table, tuple(values), tuple(where))
    with read_models_connection().cursor() as cursor:
        cursor.execute(sql, [*_parameters(table, values), *_parameters(table, where)])
        return bool(cursor.rowcount)


def delete(table: type[Model], keys: Sequence[str], rows: Sequence[Values]) -> None:
    """Delete the rows with these keys, if they exist."""
    _send(_delete(table, tuple(keys), _vendor()), table, keys, rows)


# Statements -------------------------------------------------------------------------------
# To put one together takes as long as to write a few rows.


@lru_cache(maxsize=200)
def _insert(table: type[Model], columns: tuple[str, ...], replacing: bool, vendor: str) -> str:
    into = f"INSERT INTO {_name(table)} ({_listed(table, columns)})"
    conflict = _replacing(table) if replacing else ""
    if vendor == "postgresql":
        given = _given(table, columns)
        return f"{into} SELECT {_listed(table, columns)} FROM {given} {conflict}"  # noqa: S608
    places = ", ".join(["%s"] * len(columns))
    return f"{into} VALUES ({places}) {conflict}"


@lru_cache(maxsize=200)
def _update(
    table: type[Model], columns: tuple[str, ...], keys: tuple[str, ...], vendor: str
) -> str:
    if vendor != "postgresql":
        return _update_by_parameters(table, columns, keys)
    names = [_column(table, each) for each in columns]
    sets = ", ".join(f"{each} = given.{each}" for each in names)
    given = _given(table, (*columns, *keys))
    return f"UPDATE {_name(table)} SET {sets} FROM {given} WHERE {_same(table, keys)}"  # noqa: S608


@lru_cache(maxsize=200)
def _update_by_parameters(
    table: type[Model], columns: tuple[str, ...], keys: tuple[str, ...]
) -> str:
    sets = ", ".join(f"{_column(table, each)} = %s" for each in columns)
    return f"UPDATE {_name(table)} SET {sets} WHERE {_is(table, keys)}"  # noqa: S608


@lru_cache(maxsize=200)
def _delete(table: type[Model], keys: tuple[str, ...], vendor: str) -> str:
    out_of = f"DELETE FROM {_name(table)}"  # noqa: S608
    if vendor == "postgresql":
        return f"{out_of} USING {_given(table, keys)} WHERE {_same(table, keys)}"
    return f"{out_of} WHERE {_is(table, keys)}"


def _vendor() -> str:
    return read_models_connection().vendor


def _name(table: type[Model]) -> str:
    return read_models_connection().ops.quote_name(table._meta.db_table)


def _column(table: type[Model], name: str) -> str:
    return read_models_connection().ops.quote_name(str(_field(table, name).column))


def _listed(table: type[Model], names: Iterable[str]) -> str:
    return ", ".join(_column(table, name) for name in names)


def _field(table: type[Model], name: str) -> Field[Any, Any]:
    field = table._meta.get_field(name)
    assert isinstance(field, Field), "a column, not a relation from elsewhere"
    return field


def _is(table: type[Model], keys: Sequence[str]) -> str:
    return " AND ".join(f"{_column(table, each)} = %s" for each in keys)


def _same(table: type[Model], keys: Sequence[str]) -> str:
    columns = [_column(table, each) for each in keys]
    return " AND ".join(f"{_name(table)}.{each} = given.{each}" for each in columns)


def _given(table: type[Model], names: Sequence[str]) -> str:
    """The rows in a JSON document, as a table. Its columns have the types of the model's."""
    types = ", ".join(f"{_column(table, each)} {_type_of(_field(table, each))}" for each in names)
    return f"json_to_recordset(%s::json) AS given({types})"


def _type_of(field: Field[Any, Any]) -> str:
    """The type of a column without its length: a cast would cut what is too long."""
    return str(field.db_type(read_models_connection())).partition("(")[0]


def _replacing(table: type[Model]) -> str:
    """How a row that exists is replaced: a column that is not given gets its default."""
    keys = [field.name for field in table._meta.pk_fields]
    columns = [each.name for each in table._meta.concrete_fields if each.name not in keys]
    if not columns:  # A row may be all key.
        return "ON CONFLICT DO NOTHING"
    sets = ", ".join(f"{each} = EXCLUDED.{each}" for each in (_column(table, n) for n in columns))
    return f"ON CONFLICT ({_listed(table, keys)}) DO UPDATE SET {sets}"


# Values -----------------------------------------------------------------------------------


def _send(sql: str, table: type[Model], names: Sequence[str], rows: Sequence[Values]) -> None:
    """Execute a statement with these columns of the rows."""
    columns = (_prepared(_field(table, each), rows, each) for each in names)
    prepared = zip(*columns, strict=True)
    with read_models_connection().cursor() as cursor:
        if _vendor() == "postgresql":
            documents = [dict(zip(names, each, strict=True)) for each in prepared]
            # Without ASCII's escapes, whose backslashes would have to be escaped again.
            cursor.execute(sql, [json.dumps(documents, ensure_ascii=False)])
        else:
            cursor.executemany(sql, list(prepared))


def _parameters(table: type[Model], values: Values) -> Iterable[Any]:
    """The values as parameters of a statement. PostgreSQL's driver converts them itself."""
    if _vendor() == "postgresql":
        return values.values()
    return (_prepared(_field(table, name), [values], name)[0] for name in values)


def _prepared(field: Field[Any, Any], rows: Sequence[Values], name: str) -> Sequence[Any]:
    """The values of one column, as the database takes them."""
    values = [row.get(name) for row in rows]
    if type(field) in _KEPT_AS_THEY_ARE:
        return values
    convert = _in_json(field) if _vendor() == "postgresql" else _in_sqlite(field)
    return [None if value is None else convert(value) for value in values]


def _in_json(field: Field[Any, Any]) -> Convert:
    """What turns a value into that which PostgreSQL reads from JSON."""
    if isinstance(field, models.JSONField):
        return partial(_encoded, field)
    return _JSON_CONVERTERS.get(type(field)) or partial(_as_text, field)


def _in_sqlite(field: Field[Any, Any]) -> Convert:
    """What turns a value into that which SQLite keeps."""
    if type(field) is models.JSONField:
        return partial(json.dumps, cls=field.encoder)
    return _SQLITE_CONVERTERS.get(type(field)) or partial(
        field.get_db_prep_save, connection=read_models_connection()
    )


def _encoded(field: models.JSONField[Any, Any], value: object) -> object:
    if type(field) is models.JSONField and field.encoder is None:
        return value
    return json.loads(json.dumps(field.get_prep_value(value), cls=field.encoder))


def _as_text(field: Field[Any, Any], value: object) -> str:
    """A value as PostgreSQL reads it from text: JSON has few types."""
    prepared = field.get_prep_value(value)
    if isinstance(prepared, bytes | bytearray | memoryview):
        return f"\\x{bytes(prepared).hex()}"
    if isinstance(prepared, timedelta):
        # As text, a negative one would mean something else to PostgreSQL.
        return f"{prepared.days} days {prepared.seconds}.{prepared.microseconds:06} seconds"
    return str(prepared)


def _without_zone(moment: datetime) -> str:
    text = moment.isoformat(" ")
    if text.endswith(_UTC):
        return text.removesuffix(_UTC)
    return str(moment.astimezone(UTC).replace(tzinfo=None))  # Slower, and hardly ever.


def _hexadecimal(id_: UUID) -> str:
    return id_.hex


# Of fields of just these classes: one of a subclass may have a way of its own.
_KEPT_AS_THEY_ARE: Final = frozenset(
    {
        models.BigIntegerField,
        models.BooleanField,
        models.CharField,
        models.FloatField,
        models.PositiveIntegerField,
        models.PositiveSmallIntegerField,
        models.TextField,
    }
)
_JSON_CONVERTERS: Final[Mapping[type[Field[Any, Any]], Convert]] = {
    models.DateTimeField: str,
    models.UUIDField: str,
}
_SQLITE_CONVERTERS: Final[Mapping[type[Field[Any, Any]], Convert]] = {
    models.DateTimeField: _without_zone,
    models.UUIDField: _hexadecimal,
}
