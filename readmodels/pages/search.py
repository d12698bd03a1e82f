"""Looks for loan requests, by the beginnings of words of a name, a national ID, or an id.

Few hits are found first, by themselves, from indexes. Otherwise a database that has to sort and to
count hits guesses how many there are, and reads a whole table where it guesses wrong.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from django.contrib import messages
from django.contrib.admin import ModelAdmin
from django.core.paginator import Paginator
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.http import HttpRequest
from django.utils.functional import cached_property

from lepret.common.request_numbers import NoNumber, ids_with
from readmodels.database import read_models_connection
from readmodels.models import SearchWord
from readmodels.projections.search_words import words_in

if TYPE_CHECKING:
    Pages = Paginator[Any]
    AdminOfRequests = ModelAdmin[Any]
else:  # Django's own classes take no type parameter when they run.
    Pages = Paginator
    AdminOfRequests = object

MOST_LISTED: Final = 1_000
# Of more hits than this, the first in some order are found sooner by going through all rows in that
# order than by sorting the hits.
MOST_SORTED: Final = 8_000
_MOST_WORDS: Final = 8
# As long as the first part of an id: fewer hexadecimal digits may be a name, such as Ada.
_SHORTEST_ID: Final = 8
_ID_DIGITS: Final = 32
_PART_OF_ID: Final = re.compile(rf"[0-9a-f]{{{_SHORTEST_ID},{_ID_DIGITS}}}")


@dataclass(frozen=True)
class Found:
    """Rows that were found, and if they are many, the same in a form that is quick to count."""

    rows: QuerySet[Any]
    to_count: QuerySet[Any] | None = None

    @property
    def are_many(self) -> bool:
        return self.to_count is not None


def look_for(
    text: str,
    rows: QuerySet[Any],
    *,
    also: Q | None = None,
    most: int = MOST_LISTED,
    most_sorted: int = MOST_SORTED,
) -> Found:
    """Those of `rows` that are about a loan request that `text` means; all, if it is blank.

    The primary key of a row is the id of its request. `also` is another way to find a row. More
    hits than `most` are many.
    """
    if not text.strip():
        return Found(rows)
    ways = [_Words.in_text(text), *_together(text)]
    conditions = [*_conditions_on_id(text), *([also] if also is not None else [])]
    few = _few(ways, conditions, rows, most)
    if few is not None:
        return Found(rows.filter(pk__in=few))
    ways = [way for way in ways if way.words]
    return Found(
        rows.filter(_any_of(way.condition(most_sorted) for way in ways) | _any_of(conditions)),
        to_count=rows.filter(_any_of(way.is_listed() for way in ways) | _any_of(conditions)),
    )


def _any_of(conditions: Iterable[Q]) -> Q:
    return reduce(or_, conditions, Q())


@dataclass(frozen=True)
class _Words:
    """Beginnings of words, all of which a request must have."""

    words: Sequence[str]

    @classmethod
    def in_text(cls, text: str) -> _Words:
        # The longest first: probably the rarest.
        return cls(sorted(words_in(text), key=len, reverse=True)[:_MOST_WORDS])

    def ids(self) -> QuerySet[Any, UUID]:
        """The ids of such requests, some of them more than once."""
        first, *others = self.words
        found = SearchWord.objects.filter(_begins_with("word", first))
        for word in others:
            found = found.filter(_has_word(word, "request_id"))
        return found.values_list("request_id", flat=True)

    def condition(self, most_sorted: int) -> Q:
        """The same, on rows that have the ids of requests; finds the first soon."""
        if self.ids()[: most_sorted + 1].count() <= most_sorted:
            return self.is_listed()
        condition = Q()
        for word in self.words:
            condition &= Q(_has_word(word, "pk"))
        return condition

    def is_listed(self) -> Q:
        """The same; finds all of them soon."""
        return Q(pk__in=self.ids())


def _together(text: str) -> list[_Words]:
    """What was typed in parts, such as `123456 AA` or `Mc Donald`, as one word."""
    words = words_in(text)
    return [_Words(["".join(words)])] if len(words) > 1 else []


def _has_word(word: str, id_column: str) -> Exists:
    return Exists(
        SearchWord.objects.filter(_begins_with("word", word), request_id=OuterRef(id_column))
    )


def _begins_with(column: str, text: str) -> Q:
    if read_models_connection().vendor == "postgresql":
        return Q(**{f"{column}__startswith": text})
    # SQLite uses no index for Django's `startswith`.
    return Q(**{f"{column}__gte": text, f"{column}__lt": f"{text}\U0010ffff"})


def _conditions_on_id(text: str) -> list[Q]:
    """For an id or its beginning, and for a number as applicants read it out."""
    try:
        return [Q(pk__range=ids_with(text)), *_conditions_on_digits(text)]
    except NoNumber:
        return _conditions_on_digits(text)


def _conditions_on_digits(text: str) -> list[Q]:
    digits = re.sub(r"[\s{}-]", "", text).lower().removeprefix("urn:uuid:")
    if not _PART_OF_ID.fullmatch(digits):
        return []
    ends = (UUID(digits.ljust(_ID_DIGITS, filling)) for filling in "0f")
    return [Q(pk__range=tuple(ends))]


def _few(
    ways: Sequence[_Words], conditions: Sequence[Q], rows: QuerySet[Any], most: int
) -> set[UUID] | None:
    """The ids of all hits, or `None` if they are many."""
    few: set[UUID] = set()
    every_row = rows.model._base_manager
    for ids in (
        *(way.ids() for way in ways if way.words),
        *(every_row.filter(condition).values_list("pk", flat=True) for condition in conditions),
    ):
        found = list(ids[: most + 1])
        few.update(found)
        if max(len(found), len(few)) > most:
            return None
    return few


class FirstOnly(Pages):
    """The first of many rows: counting them all would take longer than finding them."""

    def __init__(self, found: Found, rows: QuerySet[Any], per_page: int) -> None:
        super().__init__(rows, per_page)
        self._found = found

    @cached_property
    def count(self) -> int:
        assert self._found.to_count is not None
        return self._found.to_count.order_by()[:MOST_LISTED].count()


class QuickSearch(AdminOfRequests):
    """For a `ModelAdmin` of rows about loan requests: looks for them as above.

    Of many hits it lists the first in the order asked for, and says so.
    """

    search_help_text = (
        "The beginnings of a name’s words, a national ID, or a request’s number or id. "  # noqa: RUF001
        "Case, accents and apostrophes do not matter."
    )

    def look_for(self, text: str, rows: QuerySet[Any]) -> Found:
        """What is found among `rows`."""
        return look_for(text, rows)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        found = self.look_for(search_term, queryset)
        request.META[_FOUND] = found
        return found.rows, False

    def get_paginator(
        self, request: HttpRequest, queryset: QuerySet[Any], per_page: int, *rest: Any
    ) -> Pages:
        found = request.META.get(_FOUND)
        if found is None or not found.are_many:
            return super().get_paginator(request, queryset, per_page, *rest)
        paginator = FirstOnly(found, queryset, per_page)
        if paginator.count == MOST_LISTED:
            messages.info(request, _MANY)
        return paginator

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        changelist = super().get_changelist_instance(request)
        found = request.META.get(_FOUND)
        if found is not None and found.are_many:
            # To offer years, it would look for the first and the last of all hits.
            changelist.date_hierarchy = None
        return changelist


# Where a request keeps what was found: one ModelAdmin serves many requests at once.
_FOUND: Final = "lepret.search_found"
_MANY: Final = (
    f"There are more than {MOST_LISTED:,} of these. The list has the first {MOST_LISTED:,}; longer "
    "words or a filter find fewer. An export of all of them has them all."
)
