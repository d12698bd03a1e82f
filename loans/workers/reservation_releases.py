"""Releases reservations that are no longer needed.

Applicants do not wait for this: a request that is decided at once releases its own, and a new
application checks for itself whether the reservation is still needed. Without it, the reservations
of people who never apply again would be held for ever.

If the process dies that has decided at once, the reservation is released as one that has lapsed.
"""

from __future__ import annotations

import logging
import math
import time
from typing import Final

from django.utils import timezone
from esdbclient import RecordedEvent

from loans.adapters import codec
from loans.adapters.event_store import EventStore
from loans.application import use_cases
from loans.application.reservations import Reservations
from loans.domain.events import (
    AutoApproved,
    AutoDenied,
    ManuallyApproved,
    ManuallyDenied,
    ReservationTaken,
)
from loans.workers.groups import Group
from loans.workers.known_releases import KnownReleases
from loans.workers.worker import NotYet, log_parked

logger = logging.getLogger(__name__)

RELEASES: Final = Group(
    "reservation-releases",
    tuple(each.__name__ for each in (AutoApproved, AutoDenied, ManuallyApproved, ManuallyDenied)),
    codec.is_left_to_workers,
)
LAPSES: Final = Group(
    "reservation-lapses", (ReservationTaken.__name__,), codec.is_reservation_event
)


class Releases:
    """A `Handler` of decisions: a decided request no longer needs its reservation."""

    def __init__(self, *, event_store: EventStore, reservations: Reservations) -> None:
        self._event_store = event_store
        self._reservations = reservations

    def handle(self, event: RecordedEvent) -> None:
        """Release the request's reservation, if it still holds it."""
        use_cases.release_reservation(
            codec.loan_request_id(event.stream_name),
            now=timezone.now(),
            event_store=self._event_store,
            reservations=self._reservations,
        )

    def give_up(self, event: RecordedEvent, *, reason: str, attempts: int) -> None:
        """Log it."""
        log_parked(event, reason=reason, attempts=attempts)


class Lapses:
    """A `Handler` of `ReservationTaken`: lapses reservations whose request was not recorded."""

    def __init__(self, *, reservations: Reservations, releases: KnownReleases) -> None:
        self._reservations = reservations
        self._releases = releases

    def handle(self, event: RecordedEvent) -> None:
        """Release the reservation, unless its request is open. Raises `NotYet` if too early."""
        assert event.recorded_at is not None, "the event store sends it with every event"
        seconds = self._reservations.seconds_left(event.recorded_at)
        if not seconds and self._releases.include(event):
            return
        if not seconds:
            stream = codec.reservation_stream(event.stream_name)
            seconds = self._reservations.settle(stream, now=timezone.now())
        # As long as its request is open, nobody need look: its decision releases it.
        if 0 < seconds < math.inf:
            raise NotYet(_until_a_whole_second(seconds))

    def give_up(self, event: RecordedEvent, *, reason: str, attempts: int) -> None:
        """Log it."""
        log_parked(event, reason=reason, attempts=attempts)


def _until_a_whole_second(seconds: float) -> float:
    """So long, or a little longer: those of one second are handled, and answered, together."""
    now = time.monotonic()
    return seconds if seconds < 1 else math.ceil(now + seconds) - now
