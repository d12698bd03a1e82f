"""The row changes of a batch of events, collected in memory and written in few statements."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Hashable, Mapping
from typing import Any, Generic, TypeVar

from django.db.models import Field, Model

from readmodels.database import read_models_connection

Row = TypeVar("Row", bound=Model)

Values = dict[str, Any]


class RowExists(Exception):
    """A batch adds a row that exists already."""


class Rows(Generic[Row]):
    """The changes to a table's rows by a batch of events. The key of a row is its primary key.

    Later changes of a row are merged into earlier ones. So there is one insert of many rows, one
    update for each set of columns, and one delete, however many events there were. The result is
    the same as if each change had been written by itself.
    """

    def __init__(self, table: type[Row]) -> None:
        self._table = table
        self._key = table._meta.pk.attname
        self._added: dict[Hashable, Values] = {}
        self._changed: dict[Hashable, Values] = {}
        self._removed: set[Hashable] = set()
        self._must_be_new: set[Hashable] = set()
        self._may_exist: set[Hashable] = set()
        self._revisions: dict[Hashable, int] = {}
        self._began_here: set[Hashable] = set()
        self._stored: dict[Hashable, Row | None] = {}
        self.changes = 0
        """How many changes were requested so far."""

    def add(self, key: Hashable, **values: Any) -> None:
        """Add a row. If it exists already, this or `write` fails.

        Raises:
            RowExists: the same batch added it before.
        """
        if key in self._added:
            raise RowExists
        self.changes += 1
        # Earlier changes had no effect if there was no row; if there was, `write` fails.
        self._changed.pop(key, None)
        self._added[key] = values

    def put(self, key: Hashable, **values: Any) -> None:
        """Add a row, in place of the row that may exist already."""
        self.changes += 1
        self._changed.pop(key, None)
        if key not in self._added and key not in self._removed:
            self._may_exist.add(key)
        self._added[key] = values

    def change(self, key: Hashable, **values: Any) -> None:
        """Set columns of a row to other values. If there is no such row, nothing happens."""
        self.changes += 1
        self._put(key, values)

    def remove(self, key: Hashable) -> None:
        """Delete a row. If there is no such row, nothing happens."""
        self.changes += 1
        if key in self._added and key not in self._removed | self._may_exist:
            self._must_be_new.add(key)
        self._may_exist.discard(key)
        self._added.pop(key, None)
        self._changed.pop(key, None)
        self._removed.add(key)

    def get(self, key: Hashable) -> Row | None:
        """A row with the changes so far, or `None` if there is none."""
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
        """Set the revision of a row, if there is such a row when the changes are written.

        This is not announced as a change.
        """
        if revision == 0:
            self._began_here.add(key)
        self._revisions[key] = revision

    def write(self) -> None:
        """Write the changes to the table.

        Raises:
            RowExists, IntegrityError: a row to be added exists already.
        """
        self._put_revisions()
        manager = self._table._base_manager
        # Added and removed again by this batch. Written one by one, adding these would fail.
        if self._must_be_new and manager.filter(pk__in=self._must_be_new).exists():
            raise RowExists
        if self._removed:
            manager.filter(pk__in=self._removed).delete()
        self._insert(self._added.keys() - self._may_exist)
        self._insert(self._may_exist, **self._replacing())
        for columns, changes in _by_columns(self._changed).items():
            self._update(columns, changes)

    def _insert(self, keys: Collection[Hashable], **options: Any) -> None:
        added = [
            self._table(**{self._key: key, **values})
            for key, values in self._added.items()
            if key in keys
        ]
        if added:
            self._table._base_manager.bulk_create(added, **options)

    def _replacing(self) -> dict[str, Any]:
        """The options with which rows that exist are replaced. A row may be all key."""
        meta = self._table._meta
        names = [field.name for field in meta.concrete_fields if field not in meta.pk_fields]
        if not names:
            return {"ignore_conflicts": True}
        keys = [field.name for field in meta.pk_fields]
        return {"update_conflicts": True, "unique_fields": keys, "update_fields": names}

    def _put(self, key: Hashable, values: Values) -> None:
        if key in self._added:
            self._added[key] |= values
        elif key not in self._removed:
            self._changed[key] = self._changed.get(key, {}) | values

    def _put_revisions(self) -> None:
        for key, revision in self._revisions.items():
            # A request that began in this batch has a row only if the batch added one. Most tables
            # have no row of most requests.
            if key in self._added or key not in self._began_here:
                self._put(key, {"revision": revision})

    def _update(self, columns: tuple[str, ...], changes: Mapping[Hashable, Values]) -> None:
        # The ORM's `bulk_update` writes a CASE for each column with a branch for each row, which
        # takes longer than everything else.
        connection = read_models_connection()
        quote = connection.ops.quote_name
        fields = [self._field(name) for name in (*columns, self._key)]
        *sets, where = (f"{quote(str(field.column))} = %s" for field in fields)
        # The statement contains only names from the model; the values are parameters.
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
    """Group the changes of rows by the columns that they change."""
    shapes: dict[tuple[str, ...], dict[Hashable, Values]] = defaultdict(dict)
    for key, values in changed.items():
        shapes[tuple(sorted(values))][key] = values
    return shapes
