"""Queries that are asked again and again, always with the same values."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final, Generic, NamedTuple, TypeVar, cast

from django.db import connections
from django.db.models import QuerySet

Row = TypeVar("Row", bound=tuple[Any, ...])


class _Prepared(NamedTuple):
    sql: str
    parameters: tuple[Any, ...]
    # For columns that the database has in another form, by number; as Django's compiler has them.
    converters: dict[int, Any]


class PreparedQuery(Generic[Row]):
    """A query by `values_list`, for which Django puts its SQL together only once.

    That takes ten times as long as it takes SQLite to answer. Any thread may use it.
    """

    def __init__(self, queryset: QuerySet[Any, Row]) -> None:
        self._queryset: Final = queryset
        # Once for each kind of database.
        self._prepared: Final = lru_cache(self._prepare)

    def rows(self) -> list[Row]:
        """What the query finds now.

        Raises:
            django.db.Error: the database does not answer.
        """
        connection = connections[self._queryset.db]
        prepared = self._prepared(connection.vendor)
        with connection.cursor() as cursor:
            cursor.execute(prepared.sql, prepared.parameters)
            found = cursor.fetchall()
        compiler = self._queryset.query.get_compiler(connection=connection)
        rows = compiler.apply_converters(found, prepared.converters)
        return cast(list[Row], [*map(tuple, rows)])

    def _prepare(self, _vendor: str) -> _Prepared:
        compiler = self._queryset.query.get_compiler(self._queryset.db)
        sql, parameters = compiler.as_sql()
        columns = [column for column, *_ in compiler.select]
        return _Prepared(sql, tuple(parameters), compiler.get_converters(columns))
