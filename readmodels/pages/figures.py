"""What the back office's first page counts, in six queries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from django.db.models import BooleanField, Count, Q, QuerySet, Value
from django.utils.http import urlencode

from readmodels.models import Checkpoint, Failure, LoanRequest, ParkedCreditCheck, Status

_APPROVED: Final = Q(status=Status.APPROVED)
_DENIED: Final = Q(status=Status.DENIED)
_BY_SCORE: Final = Q(decided_by="")
WAITING: Final = "waiting"

# What a filter's value means: its name for people, and the condition.
OUTCOMES: Final[Mapping[str, tuple[str, Q]]] = {
    WAITING: (
        "Waiting for a decision",
        Q(status__in=(Status.RECEIVED, Status.UNDER_REVIEW), gone_at=None),
    ),
    "approved-by-underwriter": ("Approved by an underwriter", _APPROVED & ~_BY_SCORE),
    "denied-by-underwriter": ("Denied by an underwriter", _DENIED & ~_BY_SCORE),
    "approved-by-score": ("Approved automatically", _APPROVED & _BY_SCORE),
    "denied-by-score": ("Denied automatically", _DENIED & _BY_SCORE),
}


@dataclass(frozen=True)
class Figure:
    """A number, what it counts, and the query string of the list of what is counted."""

    name: str
    count: int
    query: str = ""


@dataclass(frozen=True)
class Figures:
    """What the first page shows. Days begin at midnight in the zone that times are shown in.

    `of_another_store` are the projections whose event store was replaced.
    """

    today: list[Figure]
    by_status: list[Figure]
    parked_checks: int
    stopped: list[str]
    stopped_rebuilds: list[str]
    of_another_store: list[str]

    @property
    def needs_somebody(self) -> bool:
        """Whether anything waits for an operator."""
        return bool(
            self.parked_checks or self.stopped or self.stopped_rebuilds or self.of_another_store
        )


def read_figures(now: datetime) -> Figures:
    """Count everything anew; `now` says which day it is, and in which zone.

    Raises:
        OperationalError, InterfaceError: the database is away.
    """
    by_status = _by_status(LoanRequest.objects.all())
    standing_still = _standing_still()
    return Figures(
        today=_today(now),
        by_status=[
            Figure(status.label, by_status[status], urlencode({"status__exact": status.value}))
            for status in Status
        ],
        parked_checks=ParkedCreditCheck.objects.count(),
        stopped=[name for name, in_rebuild in standing_still if in_rebuild is False],
        stopped_rebuilds=[name for name, in_rebuild in standing_still if in_rebuild],
        of_another_store=[name for name, in_rebuild in standing_still if in_rebuild is None],
    )


def _standing_still() -> list[tuple[str, bool | None]]:
    """Names of projections, and whether it is their rebuild; `None` if their store was replaced."""
    none = Value(None, output_field=BooleanField(null=True))
    replaced = Checkpoint.objects.filter(store_replaced=True).values_list("name", none)
    failures = Failure.objects.values_list("name", "in_rebuild")
    return list(failures.union(replaced, all=True).order_by("name"))


def _today(now: datetime) -> list[Figure]:
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    ends = {"gte": midnight, "lt": midnight + timedelta(days=1)}

    def since_midnight(field: str) -> dict[str, Any]:
        return {f"{field}__{end}": at for end, at in ends.items()}

    received, decided = since_midnight("requested_at"), since_midnight("decided_at")
    _, is_waiting = OUTCOMES[WAITING]
    waiting = LoanRequest.objects.filter(is_waiting).count()
    decisions = _by_status(LoanRequest.objects.filter(**decided))
    return [
        Figure("Received", LoanRequest.objects.filter(**received).count(), urlencode(received)),
        *(
            Figure(
                str(status.label),
                decisions[status],
                urlencode({**decided, "status__exact": status}),
            )
            for status in (Status.APPROVED, Status.DENIED)
        ),
        Figure("Waiting now", waiting, urlencode({"outcome": WAITING})),
    ]


def _by_status(requests: QuerySet[LoanRequest]) -> dict[Status, int]:
    counted = dict(requests.values_list("status").annotate(Count("pk")).order_by())
    return {status: counted.get(status.value, 0) for status in Status}
