"""The queue as an underwriter's page shows it, and the fragments that update such a page."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

from django.template.loader import render_to_string

from readmodels.models import PendingRequest

# More rows than anyone works through in a day; others move up as these are decided.
LONGEST_PAGE: Final = 1_000


class QueueRow(NamedTuple):
    """A pending request as it is shown. Compared by value: a rebuild may change any column."""

    id: UUID
    name: str
    national_id: str
    amount: int
    credit_score: int
    requested_at: datetime
    revision: int


@dataclass(frozen=True)
class QueuePage:
    """The oldest pending requests, and how many wait in all."""

    rows: list[QueueRow]
    waiting: int

    @classmethod
    def read(cls) -> QueuePage:
        """The page as it is now: one query, and a second if there are more rows than fit."""
        queue = PendingRequest.objects.waiting().oldest_first()
        values = queue.values_list(*QueueRow._fields)
        rows = [QueueRow(*each) for each in values[: LONGEST_PAGE + 1]]
        waiting = len(rows) if len(rows) <= LONGEST_PAGE else queue.count()
        return cls(rows[:LONGEST_PAGE], waiting)

    def context(self) -> dict[str, Any]:
        """For the templates."""
        return {"rows": self.rows, "waiting": self.waiting, "shown": len(self.rows)}

    def changes_since(self, before: QueuePage | None) -> str:
        """Fragments that turn `before` into this page: rows removed and added, or a new list."""
        if before == self:
            return ""
        if before is None:
            return render_to_string("readmodels/_queue.html", self.context())
        ids_before, ids = before.ids, self.ids
        added = [row for row in self.rows if row.id not in ids_before]
        kept = [row for row in before.rows if row.id in ids]
        if kept + added != self.rows:
            # A row belongs between others, as when clocks differ, or has changed, as after a
            # rebuild: rare enough to send a new list.
            return render_to_string("readmodels/_queue.html", self.context())
        changes = {"added": added, "removed": ids_before - ids}
        return render_to_string("readmodels/_queue_changes.html", self.context() | changes)

    @property
    def ids(self) -> set[UUID]:
        """The ids of the requests that are shown."""
        return {row.id for row in self.rows}
