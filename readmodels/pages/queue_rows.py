"""A row of the queue, as an underwriter's page shows it.

Most of a row stays the same until something happens to its request, so it is rendered once, with
slots for what depends on the time and on whom it is shown to: a page may have a thousand rows.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Final, NamedTuple
from uuid import UUID

from django.template.loader import render_to_string
from django.utils.html import format_html
from django.utils.safestring import SafeString

from readmodels.clocks import legal_deadline
from readmodels.pages.claims import Claim, Viewer, claim_on, opinions_hidden
from readmodels.pages.clocks import Clock, in_words
from readmodels.pages.explaining import in_staffs_words
from readmodels.pages.opinions import Opinion, approvers, awaiting, deniers, opinions_in
from readmodels.projections.votes import Vote

# Of each text in a row that may be long, in characters: a frame stays small, and the page of the
# request has all of it.
SHORTENED: Final = 60

# What is less used.
_IN_MENU: Final = ("approve", "hand_over", "escalate")

# No text of a request has this character.
_SLOT: Final = re.compile("\0([a-z_]+)\0")

_CSRF_FIELD: Final = '<input type="hidden" name="csrfmiddlewaretoken" value="{}">'

# Rows that were rendered before: those of a page, and as many again that have changed.
_KEPT: Final = 2_000


class QueueRow(NamedTuple):
    """A pending request as it is shown. Compared by value: a rebuild may change any column."""

    id: UUID
    name: str
    national_id: str
    amount: int
    credit_score: int
    requested_at: datetime
    revision: int
    factors: list[str]
    policy: int
    votes: list[Vote]
    notes: int
    applied_at: datetime | None
    claimed_by: str
    claimed_until: datetime | None
    escalated_by: str
    escalated_because: str

    @property
    def complete_at(self) -> datetime:
        """When its credit report was in, from which on the terms run."""
        return self.requested_at

    @property
    def since(self) -> datetime:
        """When its applicant applied. Rows of older versions do not know it."""
        return self.applied_at or self.requested_at

    def __hash__(self) -> int:
        return hash((self.id, self.revision))

    @property
    def opinions(self) -> list[Opinion]:
        """What underwriters have said of it, shortened."""
        return [each.shortened(SHORTENED) for each in opinions_in(self.votes)]

    @property
    def awaiting(self) -> str | None:
        """Whose opinion it takes to decide, where somebody has said something."""
        return awaiting(self.votes)

    @property
    def approvers(self) -> list[str]:
        """Who would approve it, and is not asked again."""
        return approvers(self.votes)

    @property
    def deniers(self) -> list[str]:
        """Who would deny it."""
        return deniers(self.votes)

    @property
    def factors_in_words(self) -> list[str]:
        """What has lowered the score."""
        return in_staffs_words(self.factors, policy=self.policy)


class Terms(NamedTuple):
    """What the policy says of all rows; `undo_seconds` is how long a decision waits in the page."""

    four_eyes_above: int | None
    decide_within: timedelta
    undo_seconds: int

    def is_above_limit(self, amount: int) -> bool:
        """Whether it takes two people to approve so much."""
        return self.four_eyes_above is not None and amount > self.four_eyes_above


class ShownRow(NamedTuple):
    """A row at a moment, for somebody."""

    row: QueueRow
    terms: Terms
    viewer: Viewer
    now: datetime

    @property
    def claim(self) -> Claim:
        """Who works on it, and what the viewer may do."""
        return claim_on(self.row, self.viewer, self.now)

    @property
    def is_for_the_taking(self) -> bool:
        """Whether the viewer may be given it as the next one."""
        holder, _, _, vote, may = self.claim
        return may["claim"] and not holder and not vote

    @property
    def due(self) -> Clock:
        """The lender's own promise."""
        begins = self.row.complete_at
        return Clock(begins, begins + self.terms.decide_within, self.now)

    @property
    def law(self) -> Clock:
        """The law's term."""
        return Clock(self.row.complete_at, legal_deadline(self.row.complete_at), self.now)

    def html(self, *, csrf_token: str = "", oob: str = "", is_hidden: bool = False) -> SafeString:
        """The row; `oob` says what htmx does with it on a page that is open."""
        words = (*self.row.factors_in_words, *(str(each.reasons) for each in self.row.opinions))
        values = {**self._values(csrf_token, oob), "is_hidden": " hidden" if is_hidden else ""}
        pieces = _pieces(self.row, self.terms, words)
        # Slots and what is between them alternate.
        return SafeString(
            "".join(values[each] if index % 2 else each for index, each in enumerate(pieces))
        )

    def _values(self, csrf_token: str, oob: str) -> dict[str, str]:
        claim, due, law = self.claim, self.due, self.law
        return {
            **{name: "" if may else " hidden" for name, may in claim.may.items()},
            "more": "" if any(claim.may[name] for name in _IN_MENU) else " hidden",
            **opinions_hidden(claim.vote),
            "is_held": ' class="is-held"' if claim.holder else "",
            "holder": "" if claim.holder else " hidden",
            "holder_name": "You" if claim.is_own else format_html("{}", claim.holder),
            "left": claim.left,
            "since": in_words(self.now - self.row.since),
            "due_state": due.state,
            "due_words": due.words,
            "law_state": law.state,
            "law_words": law.words,
            "token": _CSRF_FIELD.format(csrf_token) if csrf_token else "",
            "oob": f' hx-swap-oob="{oob}"' if oob else "",
        }


class _Slots:
    def __getitem__(self, name: str) -> SafeString:
        return SafeString(f"\0{name}\0")


@lru_cache(maxsize=_KEPT)
def _pieces(row: QueueRow, terms: Terms, words: tuple[str, ...]) -> list[str]:
    """The HTML of a row, split at its slots. Policies, and with them `words`, come to be known."""
    context = {
        "row": row,
        "due_at": row.complete_at + terms.decide_within,
        "law_at": legal_deadline(row.complete_at),
        "four_eyes_above": terms.four_eyes_above,
        "is_above_limit": terms.is_above_limit(row.amount),
        "shortened": SHORTENED,
        "slot": _Slots(),
    }
    return _SLOT.split(render_to_string("readmodels/_queue_row.html", context).strip())
