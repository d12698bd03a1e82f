"""Reads a loan request's events from the event store."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.conf import settings
from esdbclient import RecordedEvent
from esdbclient.exceptions import EventStoreDBClientException, NotFound

from lepret.common.event_store_client import event_store_client
from loans.adapters import codec
from loans.domain.events import LoanRequested


class HistoryUnavailable(Exception):
    """The event store did not answer in time."""


@dataclass(frozen=True)
class HistoryEntry:
    """One event as people read it."""

    revision: int
    recorded_at: datetime | None
    type: str
    user: str
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
    return HistoryEntry(
        revision=event.stream_position,
        recorded_at=event.recorded_at,
        type=event.type,
        user=str(codec.read_metadata(event.metadata).get("user", "")),
        data=json.loads(event.data),
    )
