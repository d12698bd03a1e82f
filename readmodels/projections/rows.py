"""The row changes of a batch of events, collected in memory and written in few statements."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Hashable, Iterable, Mapping
from functools import lru_cache
from typing import Any, Generic, TypeVar

from django.db.models import Model

from readmodels.projections import statements

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
        self._keys = [field.name for field in table._meta.pk_fields]
        self._necessary = _necessary(table)
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
        # Added and removed again by this batch. Written one by one, adding these would fail.
        if self._must_be_new and self._exist(self._must_be_new):
            raise RowExists
        if self._removed:
            statements.delete(self._table, self._keys, [self._identity(k) for k in self._removed])
        self._insert(self._added.keys() - self._may_exist)
        self._insert(self._may_exist, replacing=True)
        for columns, rows in self._by_columns(self._changed):
            statements.update(self._table, columns, self._keys, rows)

    def _exist(self, keys: Collection[Hashable]) -> bool:
        return bool(self._table._base_manager.filter(pk__in=keys).exists())

    def _insert(self, keys: Collection[Hashable], *, replacing: bool = False) -> None:
        added = {
            key: self._necessary | values for key, values in self._added.items() if key in keys
        }
        for columns, rows in self._by_columns(added):
            statements.insert(self._table, (*columns, *self._keys), rows, replacing=replacing)

    def _put(self, key: Hashable, values: Values) -> None:
        row = self._added.get(key)
        if row is None:
            if key in self._removed:
                return
            row = self._changed.setdefault(key, {})
        row.update(values)

    def _put_revisions(self) -> None:
        for key, revision in self._revisions.items():
            # A request that began in this batch has a row only if the batch added one. Most tables
            # have no row of most requests.
            if key in self._began_here:
                if key in self._added:
                    self._added[key]["revision"] = revision
            else:
                self._put(key, {"revision": revision})

    def _by_columns(
        self, changed: Mapping[Hashable, Values]
    ) -> Iterable[tuple[tuple[str, ...], list[Values]]]:
        """Rows that say something of the same columns, with these; each row has its key, too."""
        shapes: dict[frozenset[str], list[Values]] = defaultdict(list)
        for key, values in changed.items():
            shapes[frozenset(values)].append(values | self._identity(key))
        for columns, rows in shapes.items():
            yield tuple(sorted(columns)), rows

    def _identity(self, key: Any) -> Values:
        """The columns of a row's key."""
        return dict(zip(self._keys, key if len(self._keys) > 1 else (key,), strict=True))


@lru_cache(maxsize=100)
def _necessary(table: type[Model]) -> Values:
    """The values of columns that need one, and that the database has no default for."""
    return {
        field.name: field.get_default()
        for field in table._meta.concrete_fields
        if not (field.null or field.has_db_default() or field in table._meta.pk_fields)
    }
