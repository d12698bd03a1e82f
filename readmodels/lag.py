"""How far a projection is behind the event store."""

from __future__ import annotations

from django.conf import settings
from django.utils import timezone
from esdbclient import RecordedEvent
from esdbclient.exceptions import EventStoreDBClientException

from lepret.event_store_client import event_store_client
from readmodels.models import Checkpoint


class LagUnknown(Exception):
    """The event store did not answer in time."""


def lag_seconds(checkpoint: Checkpoint) -> float:
    """Seconds since the oldest event that is not applied yet was recorded; 0 where none waits.

    Raises:
        LagUnknown: the event store did not answer in time.
    """
    waiting = _first_event_after(checkpoint.position)
    if waiting is None or waiting.recorded_at is None:
        return 0.0
    return (timezone.now() - waiting.recorded_at).total_seconds()


def _first_event_after(position: int) -> RecordedEvent | None:
    try:
        # Reading starts with the event at the position itself.
        events = event_store_client().read_all(
            commit_position=position or None, limit=2, timeout=settings.EVENTSTORE_TIMEOUT_SECONDS
        )
        return next((event for event in events if (event.commit_position or 0) > position), None)
    except EventStoreDBClientException as error:
        raise LagUnknown from error
