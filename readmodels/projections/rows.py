"""The row changes of a batch of events: gathered in memory, then written in few statements."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Mapping
from typing import Any, Generic, TypeVar

from django.db.models import Field, Model

from readmodels.database import read_models_connection

Row = TypeVar("Row", bound=Model)

Values = dict[str, Any]


class RowExists(Exception):
    """A batch adds a row that is there already."""


class Rows(Generic[Row]):
    """A table's rows as a batch of events changes them, each row named by its primary key.

    The later changes of a row are merged into the earlier ones, so that what is written is one
    insert of many rows, one update for each set of columns, and one delete, however many events
    there were. What comes out is what the changes would have done one by one.
    """

    def __init__(self, table: type[Row]) -> None:
        self._table = table
        self._key = table._meta.pk.attname
        self._added: dict[Hashable, Values] = {}
        self._changed: dict[Hashable, Values] = {}
        self._removed: set[Hashable] = set()
        self._must_be_new: set[Hashable] = set()
        self._revisions: dict[Hashable, int] = {}
        self._began_here: set[Hashable] = set()
        self._stored: dict[Hashable, Row | None] = {}
        self.changes = 0
        """How many changes were asked for so far."""

    def add(self, key: Hashable, **values: Any) -> None:
        """A new row. One that exists already is an error, now or when the rows are written.

        Raises:
            RowExists: the batch added it before.
        """
        if key in self._added:
            raise RowExists
        self.changes += 1
        # What changed a row that is not there yet had no effect; if it is, writing will tell.
        self._changed.pop(key, None)
        self._added[key] = values

    def change(self, key: Hashable, **values: Any) -> None:
        """Other values in some columns of a row. Where there is no such row, nothing happens."""
        self.changes += 1
        self._put(key, values)

    def remove(self, key: Hashable) -> None:
        """Away with a row. Where there is none, nothing happens."""
        self.changes += 1
        if key in self._added and key not in self._removed:
            self._must_be_new.add(key)
        self._added.pop(key, None)
        self._changed.pop(key, None)
        self._removed.add(key)

    def get(self, key: Hashable) -> Row | None:
        """A row as it stands after the changes so far, or `None` where there is none."""
        if key in self._added:
            return self._table(**{self._key: key, **self._added[key]})
        if key in self._removed:
            return None
        if key not in self._stored:
            self._stored[key] = self._table._base_manager.filter(pk=key).first()
        row = self._stored[key]
        if row is None:
            return None
        for column, value in self._changed.get(key, {}).items():
            setattr(row, column, value)
        return row

    def revise(self, key: Hashable, revision: int) -> None:
        """Note the revision of a request whose row this is, if there is one when it is written.

        That is no change that anybody is told of.
        """
        if revision == 0:
            self._began_here.add(key)
        self._revisions[key] = revision

    def write(self) -> None:
        """Bring the changes into the table.

        Raises:
            RowExists, IntegrityError: a row was to be added that is there.
        """
        self._put_revisions()
        manager = self._table._base_manager
        # Added and removed again: one by one, the adding would have failed.
        if self._must_be_new and manager.filter(pk__in=self._must_be_new).exists():
            raise RowExists
        if self._removed:
            manager.filter(pk__in=self._removed).delete()
        if self._added:
            manager.bulk_create(
                [self._table(**{self._key: key, **values}) for key, values in self._added.items()]
            )
        for columns, changes in _by_columns(self._changed).items():
            self._update(columns, changes)

    def _put(self, key: Hashable, values: Values) -> None:
        if key in self._added:
            self._added[key] |= values
        elif key not in self._removed:
            self._changed[key] = self._changed.get(key, {}) | values

    def _put_revisions(self) -> None:
        for key, revision in self._revisions.items():
            # Of a request that began in this batch there is no row but one that was added in it,
            # and most requests leave most tables alone.
            if key in self._added or key not in self._began_here:
                self._put(key, {"revision": revision})

    def _update(self, columns: tuple[str, ...], changes: Mapping[Hashable, Values]) -> None:
        # The ORM's `bulk_update` writes a CASE for each column with a branch for each row, which
        # costs more than all the rest.
        connection = read_models_connection()
        quote = connection.ops.quote_name
        fields = [self._field(name) for name in (*columns, self._key)]
        *sets, where = (f"{quote(str(field.column))} = %s" for field in fields)
        # Names alone, from the model; the values are parameters.
        table = quote(self._table._meta.db_table)
        sql = f"UPDATE {table} SET {', '.join(sets)} WHERE {where}"  # noqa: S608
        parameters = [
            [
                field.get_db_prep_save(value, connection)
                for field, value in zip(fields, (*map(values.get, columns), key), strict=True)
            ]
            for key, values in changes.items()
        ]
        with connection.cursor() as cursor:
            cursor.executemany(sql, parameters)

    def _field(self, name: str) -> Field[Any, Any]:
        field = self._table._meta.get_field(name)
        assert isinstance(field, Field), "a column, not a relation from elsewhere"
        return field


def _by_columns(
    changed: Mapping[Hashable, Values],
) -> Mapping[tuple[str, ...], dict[Hashable, Values]]:
    """The changes of rows, by the columns that they change."""
    shapes: dict[tuple[str, ...], dict[Hashable, Values]] = defaultdict(dict)
    for key, values in changed.items():
        shapes[tuple(sorted(values))][key] = values
    return shapes
