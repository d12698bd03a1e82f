"""What lists of loan requests are filtered by, beside what Django offers."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, Final

from django.contrib.admin.filters import (
    AllValuesFieldListFilter,
    DateFieldListFilter,
    FieldListFilter,
    SimpleListFilter,
)
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ChangeList
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone

from lepret.common.formats import currency_symbol, money
from readmodels.models import LoanRequest
from readmodels.pages.figures import OUTCOMES

Range = tuple[str, datetime, datetime]


def ranges_of_days(now: datetime) -> list[Range]:
    """Names of days, weeks and so on, with the first moment of each and the first one after it.

    `now` says in which zone days begin. Weeks begin on Mondays (ISO 8601).
    """
    today = now.replace(hour=0, minute=0, second=0, microsecond=0)
    tomorrow, yesterday = today + timedelta(days=1), today - timedelta(days=1)
    monday = today - timedelta(days=today.weekday())
    first = today.replace(day=1)
    first_of_last = (first - timedelta(days=1)).replace(day=1)
    first_of_next = (first + timedelta(days=31)).replace(day=1)
    new_year = first.replace(month=1)
    return [
        ("Today", today, tomorrow),
        ("Yesterday", yesterday, today),
        ("Past 7 days", today - timedelta(days=7), tomorrow),
        ("This week", monday, monday + timedelta(days=7)),
        ("Last week", monday - timedelta(days=7), monday),
        ("This month", first, first_of_next),
        ("Last month", first_of_last, first),
        ("This year", new_year, new_year.replace(year=new_year.year + 1)),
    ]


class DayFilter(DateFieldListFilter):
    """Django's, with more days, which begin at midnight in the zone that times are shown in."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        since, until = self.lookup_kwarg_since, self.lookup_kwarg_until
        any_date = self.links[0]
        days: list[Any] = [
            (name, {since: first, until: end})
            for name, first, end in ranges_of_days(timezone.localtime())
        ]
        of_any = [link for link in self.links if f"{self.field_path}__isnull" in link[1]]
        self.links = (
            any_date,
            *days,
            *of_any,
        )


class DecisionDateFilter(DayFilter):
    """By the day of the decision."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.title = "decision date"


class OutcomeFilter(SimpleListFilter):
    """How a request was decided, and by a person or not."""

    title = "outcome"
    parameter_name = "outcome"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(value, name) for value, (name, _) in OUTCOMES.items()]

    def queryset(
        self, request: HttpRequest, queryset: QuerySet[LoanRequest]
    ) -> QuerySet[LoanRequest]:
        value = self.value()
        if value is None:
            return queryset
        if value not in OUTCOMES:
            raise IncorrectLookupParameters
        return queryset.filter(OUTCOMES[value][1])


class UnderwriterFilter(AllValuesFieldListFilter):
    """Those who have decided; what nobody has decided is an outcome."""

    def __init__(self, field: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(field, *args, **kwargs)
        self.title = "underwriter"
        self.lookup_choices = self.lookup_choices.exclude(**{field.name: ""})


# Both ends are meant inclusively; `None`: no end.
_AMOUNTS: Final[tuple[tuple[int | None, int | None], ...]] = (
    (None, 999),
    (1_000, 4_999),
    (5_000, 9_999),
    (10_000, 49_999),
    (50_000, None),
)


class AmountFilter(FieldListFilter):
    """Some ranges, and a form for any other."""

    template = "admin/amount_filter.html"

    def __init__(
        self,
        field: Any,
        request: HttpRequest,
        params: dict[str, list[str]],
        model: Any,
        model_admin: Any,
        field_path: str,
    ) -> None:
        self.names = [f"{field_path}__gte", f"{field_path}__lte"]
        for name in self.names:
            if name in params and not params[name][-1].strip():
                del params[name]  # A field of the form that was left empty.
        self.chosen = {name: params[name][-1] for name in self.names if name in params}
        super().__init__(field, request, params, model, model_admin, field_path)

    def expected_parameters(self) -> list[str | None]:
        return [*self.names]

    def choices(self, changelist: ChangeList) -> Iterator[Any]:
        self.other_parameters = [
            (name, value)
            for name, values in changelist.filter_params.items()
            if name not in self.names
            for value in values
        ]
        yield self._choice(changelist, "All", {})
        for least, most in _AMOUNTS:
            ends = zip(self.names, (least, most), strict=True)
            chosen = {name: str(end) for name, end in ends if end is not None}
            yield self._choice(changelist, _in_words(least, most), chosen)

    def fields(self) -> list[dict[str, str]]:
        """The fields of the form: their names, labels and values."""
        labels = (f"From {currency_symbol()}", f"To {currency_symbol()}")
        return [
            {"name": name, "label": label, "value": self.chosen.get(name, "")}
            for name, label in zip(self.names, labels, strict=True)
        ]

    def _choice(self, changelist: ChangeList, name: str, chosen: dict[str, str]) -> dict[str, Any]:
        return {
            "selected": self.chosen == chosen,
            "query_string": changelist.get_query_string(chosen, self.names),
            "display": name,
        }


def _in_words(least: int | None, most: int | None) -> str:
    if least is None:
        return f"up to {money(most or 0)}"
    return f"{money(least)} to {money(most)}" if most is not None else f"{money(least)} and more"
