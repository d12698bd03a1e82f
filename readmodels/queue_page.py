"""What an underwriter's page shows of the queue, and what must change when the queue does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from django.template.loader import render_to_string

from readmodels.models import PendingRequest

# More rows than anyone works through in a day; the rest move up as these are decided.
LONGEST_PAGE: Final = 1_000


@dataclass(frozen=True)
class QueuePage:
    """The oldest pending requests, and how many wait in all."""

    rows: Sequence[PendingRequest]
    waiting: int

    @classmethod
    def read(cls) -> QueuePage:
        """The page as it should be now: one query, and a second where there are more than fit."""
        queue = PendingRequest.objects.oldest_first()
        rows = list(queue[: LONGEST_PAGE + 1])
        waiting = len(rows) if len(rows) <= LONGEST_PAGE else queue.count()
        return cls(rows[:LONGEST_PAGE], waiting)

    def context(self) -> dict[str, Any]:
        """For the templates."""
        return {"rows": self.rows, "waiting": self.waiting, "shown": len(self.rows)}

    def changes_since(self, before: QueuePage | None) -> str:
        """Fragments that turn `before` into this page: rows out, rows in, or the list anew."""
        if before == self:
            return ""
        if before is None:
            return render_to_string("readmodels/_queue.html", self.context())
        added = [row for row in self.rows if row.id not in before.ids]
        kept = [row.id for row in before.rows if row.id in self.ids]
        if kept + [row.id for row in added] != [row.id for row in self.rows]:
            # A row belongs between others, as when clocks differ: rare enough to list anew.
            return render_to_string("readmodels/_queue.html", self.context())
        changes = {"added": added, "removed": before.ids - self.ids}
        return render_to_string("readmodels/_queue_changes.html", self.context() | changes)

    @property
    def ids(self) -> set[UUID]:
        return {row.id for row in self.rows}
