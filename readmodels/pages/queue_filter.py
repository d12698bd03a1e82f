"""What an underwriter wants to see of the queue, and in which order.

All rows are on the page, and those that do not fit are hidden. So `filters.js`, which says the same
while the page is open, has what anybody may want to see next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any, Final, assert_never

from django import forms
from django.db import models

from lepret.common.formats import currency_symbol
from loans.domain.policy import Policy
from readmodels.clocks import ends_soon_since
from readmodels.models import PendingRequestQuerySet
from readmodels.pages.queue_rows import ShownRow


class Show(models.TextChoices):
    """Which requests are shown."""

    ALL = "all", "All"
    UNCLAIMED = "unclaimed", "Unclaimed"
    MINE = "mine", "Mine"
    DUE = "due", "Due soon or overdue"
    LARGE = "large", "Above the limit"
    SECOND = "second", "Waiting for another opinion"


class Sort(models.TextChoices):
    """Which requests come first; those of the same rank in the order in which they are due."""

    DUE = "due", "First due"
    AMOUNT = "amount", "Largest amount"
    SCORE = "score", "Lowest score"
    WAITING = "waiting", "Longest waiting"


_FITS: Final[Mapping[Show, Callable[[ShownRow], bool]]] = {
    Show.ALL: lambda _: True,
    Show.UNCLAIMED: lambda each: not each.claim.holder,
    Show.MINE: lambda each: each.claim.is_own,
    Show.DUE: lambda each: each.due.state != "fine",
    Show.LARGE: lambda each: each.terms.is_above_limit(each.row.amount),
    Show.SECOND: lambda each: bool(each.row.votes),
}

_RANK: Final[Mapping[Sort, Callable[[ShownRow], Any]]] = {
    Sort.DUE: lambda _: 0,
    Sort.AMOUNT: lambda each: -each.row.amount,
    Sort.SCORE: lambda each: each.row.credit_score,
    Sort.WAITING: lambda each: each.row.since,
}


@dataclass(frozen=True)
class Wish:
    """What somebody wants to see; both amounts are included, `None`: no end."""

    show: Show = Show.ALL
    sort: Sort = Sort.DUE
    at_least: int | None = None
    at_most: int | None = None

    def fits(self, shown: ShownRow) -> bool:
        """Whether a row is one of those."""
        amount = shown.row.amount
        is_below = self.at_least is not None and amount < self.at_least
        is_above = self.at_most is not None and amount > self.at_most
        return not is_below and not is_above and _FITS[self.show](shown)

    def in_order(self, rows: Iterable[ShownRow]) -> list[ShownRow]:
        """The rows in the order that is wanted; they come as they are due."""
        return sorted(rows, key=_RANK[self.sort])

    @property
    def is_narrow(self) -> bool:
        """Whether anything is left out."""
        return (self.show, self.at_least, self.at_most) != (Show.ALL, None, None)

    @property
    def is_backwards(self) -> bool:
        """Whether the amounts are the wrong way round, so that nothing is between them."""
        if self.at_least is None or self.at_most is None:
            return False
        return self.at_least > self.at_most


EVERYTHING: Final = Wish()


def narrowed(
    queue: PendingRequestQuerySet, show: Show, *, username: str, now: datetime, policy: Policy
) -> PendingRequestQuerySet:
    """What is to be shown of the queue, found by the database."""
    match show:
        case Show.ALL:
            return queue
        case Show.UNCLAIMED:
            return queue.unclaimed(now)
        case Show.MINE:
            return queue.held_by(username, now)
        case Show.DUE:
            return queue.complete_by(ends_soon_since(now, policy.decide_within))
        case Show.LARGE:
            return queue.above(policy.four_eyes_above)
        case Show.SECOND:
            return queue.with_opinions()
    assert_never(show)


class QueueFilter(forms.Form):
    """The fields above the list. What is no filter is said to be none, and filters nothing."""

    show = forms.ChoiceField(
        choices=Show.choices,
        required=False,
        error_messages={"invalid_choice": "This is not known, and left out."},
    )
    at_least = forms.IntegerField(min_value=0, required=False)
    at_most = forms.IntegerField(min_value=0, required=False)
    sort = forms.ChoiceField(
        label="Order",
        choices=Sort.choices,
        required=False,
        error_messages={"invalid_choice": "This is not known: the first due are first."},
    )

    def __init__(self, query: Mapping[str, Any]) -> None:
        super().__init__(query, auto_id="filter-%s", label_suffix="")
        for name, label in (("at_least", "From"), ("at_most", "To")):
            self.fields[name].label = f"{label} {currency_symbol()}"
            self.fields[name].error_messages = dict.fromkeys(
                ("invalid", "min_value"), "This is no whole amount, and left out."
            )

    def add_prefix(self, field_name: str) -> str:
        """The field's name in the address: Python has other uses for one of them."""
        return {"at_least": "from", "at_most": "to"}.get(field_name, field_name)

    @cached_property
    def wish(self) -> Wish:
        """What was chosen, without what is no filter."""
        self.full_clean()
        return Wish(
            Show(self.cleaned_data.get("show") or Show.ALL),
            Sort(self.cleaned_data.get("sort") or Sort.DUE),
            self.cleaned_data.get("at_least"),
            self.cleaned_data.get("at_most"),
        )
