"""The queue as an underwriter's page shows it, and the fragments that update such a page."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property, lru_cache
from hashlib import sha256
from itertools import islice
from typing import Any, Final
from uuid import UUID

from django.db.models import QuerySet
from django.template.loader import render_to_string
from django.utils import timezone

from readmodels.models import LoanRequest, PendingRequest
from readmodels.pages.claims import NOBODY, Viewer
from readmodels.pages.next import MOST_OFFERED
from readmodels.pages.prepared import PreparedQuery
from readmodels.pages.queue_filter import EVERYTHING, Wish
from readmodels.pages.queue_rows import QueueRow, ShownRow, Terms
from readmodels.policies import policy_in_force

# More rows than anyone works through in a day; others move up as these are decided.
LONGEST_PAGE: Final = 1_000

# A page with more rows is loaded with these, and gets the others, in parts, once it is in use.
FIRST_ROWS: Final = 30
_PART: Final = 50
# More rows than these are not looked for one by one.
_MOST_CHANGED: Final = 100
_SECONDS_BETWEEN_WHOLE_READS: Final = 10.0
_SECONDS_BETWEEN_TERMS: Final = 1.0
_QUEUE: Final = PendingRequest.objects.waiting().oldest_first()
_REVISIONS: Final = PreparedQuery(_QUEUE.values_list("id", "revision")[: LONGEST_PAGE + 1])
_NO_MORE: Final = '<p id="queue-rest" hx-swap-oob="delete"></p>'


@dataclass(frozen=True)
class QueuePage:
    """The oldest pending requests, how many wait in all, and how many each has decided today.

    The oldest are due first, since all are to be decided within the same time.
    """

    rows: list[QueueRow]
    waiting: int
    terms: Terms
    decided_today: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def read(cls, before: QueuePage | None = None, terms: Terms | None = None) -> QueuePage:
        """The page as it is now: two queries, and a third if there are more rows than fit.

        Rows that are in `before` with the same revision are taken from there; the others, if any,
        take one query more. So do the terms, if they are not given.
        """
        now = timezone.localtime()
        rows = _read(_QUEUE[: LONGEST_PAGE + 1]) if before is None else _reread(before.rows)
        waiting = len(rows) if len(rows) <= LONGEST_PAGE else _QUEUE.count()
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
        decided = dict(_decisions_since(midnight).rows())
        return cls(rows[:LONGEST_PAGE], waiting, terms or _terms_at(now), decided)

    def context(
        self,
        viewer: Viewer = NOBODY,
        *,
        csrf_token: str = "",
        wish: Wish = EVERYTHING,
        most: int = LONGEST_PAGE,
    ) -> dict[str, Any]:
        """For the templates, with all rows or, if these are too many, the first that are shown."""
        rows = wish.in_order(self._shown(self.rows, viewer))
        fits = [wish.fits(each) for each in rows]
        has_all = len(rows) <= most
        listed = [each for each in zip(rows, fits, strict=True) if has_all or each[1]]
        return self._summary | {
            "rows": [
                row.html(csrf_token=csrf_token, is_hidden=not is_shown)
                for row, is_shown in listed[:most]
            ],
            "has_all": has_all,
            "fitting": sum(fits),
            "next_ids": list(islice(_for_the_taking(rows, fits), MOST_OFFERED)),
            "terms": self.terms,
            "overdue": sum(each.due.state == "over" for each in rows),
            "mine": sum(each.claim.is_own for each in rows),
            "own_decisions": self.decided_today.get(viewer.username, 0),
        }

    def changes_since(self, before: QueuePage | None) -> str:
        """Fragments that turn `before` into this page: the rows that changed, or a new list."""
        if before == self:
            return ""
        if before is None or before.terms != self.terms:
            return render_to_string("readmodels/_queue.html", self.context())
        known = {row.id: row for row in before.rows}
        kept = [row.id for row in self.rows if row.id in known]
        if kept != [id_ for id_ in known if id_ in self.ids]:
            return render_to_string("readmodels/_queue.html", self.context())
        # Pages put them where they belong: requests are often scored in another order than made.
        added = [row for row in self.rows if row.id not in known]
        changed = [row for row in self.rows if row != known.get(row.id, row)]
        rows = [
            *(each.html(oob="true") for each in self._shown(changed, NOBODY)),
            *(each.html(oob="beforeend:#queue-rows") for each in self._shown(added, NOBODY)),
        ]
        context = self._summary | {"removed": known.keys() - self.ids, "rows": rows}
        return render_to_string("readmodels/_queue_changes.html", context)

    @property
    def summary(self) -> str:
        """The fragment that counts the rows."""
        return render_to_string("readmodels/_queue_summary.html", self._summary)

    @cached_property
    def digest(self) -> str:
        """Tells this page from those with other rows, terms or counts."""
        content = repr((self.rows, self.terms, sorted(self.decided_today.items())))
        return sha256(content.encode()).hexdigest()

    @cached_property
    def rest(self) -> list[str]:
        """What a page lacks that was loaded with the first rows only, in parts."""
        if len(self.rows) <= FIRST_ROWS:
            return []
        # Which rows it was loaded with depends on the order. It passes over what it has.
        rows = [each.html(oob="beforeend:#queue-rows") for each in self._shown(self.rows, NOBODY)]
        parts = ["\n".join(rows[start : start + _PART]) for start in range(0, len(rows), _PART)]
        return [*parts, _NO_MORE]

    @cached_property
    def ids(self) -> set[UUID]:
        """The ids of the requests that are shown."""
        return {row.id for row in self.rows}

    @property
    def _summary(self) -> dict[str, Any]:
        return {
            "waiting": self.waiting,
            "shown": len(self.rows),
            "decided_today": sum(self.decided_today.values()),
        }

    def _shown(self, rows: Iterable[QueueRow], viewer: Viewer) -> list[ShownRow]:
        now = timezone.now()
        return [ShownRow(row, self.terms, viewer, now) for row in rows]


class QueueReader:
    """Reads the page again and again, and most times only the rows that have changed.

    A rebuild may change rows that keep their revision, so all are read every few seconds. What the
    policy says of them hardly ever changes, and is read once a second at most.
    """

    def __init__(self) -> None:
        self._last: QueuePage | None = None
        self._read_all_at = self._read_terms_at = -math.inf

    def __call__(self) -> QueuePage:
        now = time.monotonic()
        if now - self._read_all_at >= _SECONDS_BETWEEN_WHOLE_READS:
            self._last, self._read_all_at = None, now
        terms = None if self._last is None else self._last.terms
        if now - self._read_terms_at >= _SECONDS_BETWEEN_TERMS:
            terms, self._read_terms_at = None, now
        self._last = QueuePage.read(self._last, terms)
        return self._last


def _terms_at(moment: datetime) -> Terms:
    policy = policy_in_force(moment).policy
    return Terms(policy.four_eyes_above, policy.decide_within, policy.undo_seconds)


def _read(queue: QuerySet[PendingRequest]) -> list[QueueRow]:
    return [QueueRow(*each) for each in queue.values_list(*QueueRow._fields)]


def _reread(before: list[QueueRow]) -> list[QueueRow]:
    known = {(row.id, row.revision): row for row in before}
    now = _REVISIONS.rows()
    changed = [id_ for id_, revision in now if (id_, revision) not in known]
    if len(changed) > _MOST_CHANGED:
        return _read(_QUEUE[: LONGEST_PAGE + 1])
    # They may have changed once more, or be gone, since the first query.
    read = {row.id: row for row in _read(_QUEUE.filter(id__in=changed))} if changed else {}
    rows = [known.get((id_, revision)) or read.get(id_) for id_, revision in now]
    return [row for row in rows if row is not None]


@lru_cache(maxsize=1)
def _decisions_since(midnight: datetime) -> PreparedQuery[tuple[str, int]]:
    return PreparedQuery(LoanRequest.objects.decisions_of_people(midnight))


def _for_the_taking(rows: Iterable[ShownRow], fits: Iterable[bool]) -> Iterator[UUID]:
    """The ids of what is shown and may be taken as the next, in the order of the page."""
    return (
        each.row.id
        for each, is_shown in zip(rows, fits, strict=True)
        if is_shown and each.is_for_the_taking
    )
