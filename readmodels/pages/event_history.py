"""Reads a loan request's events from the event store."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from django.conf import settings
from django.utils.dateparse import parse_datetime
from django.utils.timezone import is_aware
from esdbclient import RecordedEvent
from esdbclient.exceptions import EventStoreDBClientException, NotFound

from lepret.common.event_store_client import event_store_client
from lepret.common.formats import moment, money
from loans.adapters import codec
from loans.domain.events import (
    ApplicationLapsed,
    AutoApproved,
    AutoDenied,
    CreditChecked,
    CreditCheckParked,
    LoanRequested,
    ManualReviewRequired,
)

AUTOMATIC_RULES: Final = "automatic rules"

# Who or what caused the events that no member of staff causes. The metadata name whoever sent the
# command, which is the applicant for a check and a decision that follow at once.
_ACTORS: Final[Mapping[str, str]] = {
    LoanRequested.__name__: "applicant",
    CreditChecked.__name__: "credit bureau",
    CreditCheckParked.__name__: "credit check worker",
    AutoApproved.__name__: AUTOMATIC_RULES,
    AutoDenied.__name__: AUTOMATIC_RULES,
    ManualReviewRequired.__name__: AUTOMATIC_RULES,
    ApplicationLapsed.__name__: AUTOMATIC_RULES,
}


class HistoryUnavailable(Exception):
    """The event store did not answer in time."""


@dataclass(frozen=True)
class HistoryEntry:
    """One event as people read it."""

    revision: int
    recorded_at: datetime | None
    type: str
    who: str
    data: dict[str, Any]


def history_of(loan_request_id: UUID) -> list[HistoryEntry]:
    """Every event of a loan request, oldest first, also of types that this version does not know.

    Empty if there is no such request.

    Raises:
        HistoryUnavailable: the event store did not answer in time.
    """
    return [_entry(event) for event in _read(loan_request_id)]


def is_recorded(loan_request_id: UUID) -> bool:
    """Whether the event store has a loan request, which the read models may not have yet.

    A stream alone is not enough: an application may have lapsed before it was recorded.

    Raises:
        HistoryUnavailable: the event store did not answer in time.
    """
    return any(event.type == LoanRequested.__name__ for event in _read(loan_request_id))


def _read(loan_request_id: UUID) -> Sequence[RecordedEvent]:
    try:
        return event_store_client().get_stream(
            codec.stream_name(loan_request_id),
            timeout=settings.EVENTSTORE_TIMEOUT_SECONDS,
        )
    except NotFound:
        return ()
    except EventStoreDBClientException as error:
        raise HistoryUnavailable from error


def _entry(event: RecordedEvent) -> HistoryEntry:
    user = str(codec.read_metadata(event.metadata).get("user", ""))
    data = json.loads(event.data)
    return HistoryEntry(
        revision=event.stream_position,
        recorded_at=event.recorded_at,
        type=event.type,
        who=_ACTORS.get(event.type, user),
        data={name: _in_words(name, value) for name, value in data.items() if name != "id"},
    )


def _in_words(name: str, value: Any) -> Any:
    if name == "amount" and isinstance(value, int):
        return money(value)
    at = _moment_in(value)
    return moment(at) if at else value


def _moment_in(value: Any) -> datetime | None:
    try:
        at = parse_datetime(value) if isinstance(value, str) else None
    except ValueError:  # It looks like a time, but is none.
        return None
    return at if at and is_aware(at) else None
