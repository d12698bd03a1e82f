"""Notices that an operator has deleted, truncated or limited a stream of ours.

EventStoreDB then writes an event of its own: a tombstone in the stream, or metadata in a stream
beside it. What is left of the stream is looked at; what the event says would not be enough.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from django.utils import timezone
from esdbclient import RecordedEvent

from lepret.common.event_store_connection import SharedClient
from loans.adapters import codec
from loans.adapters.event_store import EventStore
from loans.application.losses import note_loss
from loans.application.reservations import Reservations
from loans.domain.events import ReservationEvent
from loans.workers.groups import CALL_TIMEOUT_SECONDS, LONGEST_DELAY_SECONDS, Group
from loans.workers.worker import NotYet, log_parked

logger = logging.getLogger(__name__)


def _stream_name(event: RecordedEvent) -> str:
    """The stream to which something was done."""
    name = event.stream_name
    return name.removeprefix(codec.METADATA_PREFIX) if event.type == codec.METADATA_TYPE else name


def _is_about_a_request(event: RecordedEvent) -> bool:
    try:
        codec.loan_request_id(_stream_name(event))
    except ValueError:
        return False
    return True


def _is_about_a_reservation(event: RecordedEvent) -> bool:
    return codec.is_reservation_name(_stream_name(event))


# In a regular expression.
_TYPES: Final = tuple(map(re.escape, (codec.METADATA_TYPE, codec.TOMBSTONE_TYPE)))
LOSSES: Final = Group("losses", _TYPES, _is_about_a_request)
RESERVATION_LOSSES: Final = Group("reservation-losses", _TYPES, _is_about_a_reservation)
# The last event, and the tombstone after it.
_NEWEST: Final = 2
# The event store may have to look through all that was recorded since.
_SEARCH_SECONDS: Final = 300.0
# For what is left of a stream with a `$maxAge` to be gone.
_MARGIN: Final = timedelta(seconds=1)


class Losses:
    """A `Handler` of what was done to the streams of requests: it looks what is left of them."""

    def __init__(self, *, event_store: EventStore) -> None:
        self._event_store = event_store

    def handle(self, event: RecordedEvent) -> None:
        """Record whether the stream is gone. Raises `NotYet` where it soon will be."""
        loan_request_id = codec.loan_request_id(_stream_name(event))
        if note_loss(loan_request_id, event_store=self._event_store, now=timezone.now()):
            logger.warning("The stream of %s is gone: %s", loan_request_id, event.type)
            return
        # A later loss is noticed by whoever asks for the request then.
        _wait_until_expired(event, self._event_store.now())

    def give_up(self, event: RecordedEvent, *, reason: str, attempts: int) -> None:
        """Log it."""
        log_parked(event, reason=reason, attempts=attempts)


class Restorations:
    """A `Handler` of what was done to reservations: it restores those of which nothing is left.

    The last event of a reservation says all. It can still be read in `$all`, until a scavenge.
    """

    def __init__(self, *, reservations: Reservations, connect: Callable[[], SharedClient]) -> None:
        self._reservations = reservations
        self._connect = connect

    def handle(self, event: RecordedEvent) -> None:
        """Restore the reservation, if it is gone. Raises `NotYet` where it soon will be."""
        stream_id = codec.reservation_stream(_stream_name(event))
        if not self._reservations.is_gone(stream_id):
            _wait_until_expired(event, self._connect().store_time(timeout=CALL_TIMEOUT_SECONDS))
            return
        last = self._last_event(stream_id.name)
        if last is None:
            logger.error("Could not restore a reservation: nothing is left of it")
            return
        self._reservations.restore(stream_id, last)
        logger.warning("Restored a reservation whose stream is gone: %s", event.type)

    def _last_event(self, name: str) -> ReservationEvent | None:
        events = self._connect().read_all(
            backwards=True,
            filter_include=[re.escape(name)],
            filter_by_stream_name=True,
            limit=_NEWEST,
            timeout=_SEARCH_SECONDS,
        )
        ours = (each for each in events if codec.is_reservation_event(each))
        decoded = (
            codec.decode_as(codec.RESERVATION_EVENTS, each.type, each.data, each.metadata)
            for each in ours
        )
        return next(decoded, None)

    def give_up(self, event: RecordedEvent, *, reason: str, attempts: int) -> None:
        """Log it."""
        log_parked(event, reason=reason, attempts=attempts)


def _wait_until_expired(event: RecordedEvent, now: datetime) -> None:
    """Raise `NotYet` if a `$maxAge` soon hides what is left; `now` is by the store's clock."""
    max_age = codec.max_age_in(event.data)
    if max_age is None:
        return
    assert event.recorded_at is not None, "the event store sends it with every event"
    wait = (event.recorded_at + max_age + _MARGIN - now).total_seconds()
    if 0 < wait <= LONGEST_DELAY_SECONDS:
        raise NotYet(wait)
