"""What the use cases depend on, made from the settings: once a process, when first asked for."""

from __future__ import annotations

from datetime import timedelta
from functools import cache

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from lepret.event_store_client import event_store_client
from loans.credit_bureau import CreditBureau, HttpCreditBureau, SimulatedCreditBureau
from loans.event_store import EventStore, EventStoreDB
from loans.reservations import Reservations


@cache
def event_store() -> EventStore:
    """The event store that `EVENTSTORE_URI` names."""
    return EventStoreDB(event_store_client, timeout=settings.EVENTSTORE_TIMEOUT_SECONDS)


@cache
def credit_bureau() -> CreditBureau:
    """The clearing house that `CREDIT_BUREAU_URL` names, or the simulator."""
    if settings.CREDIT_BUREAU_URL is None:
        return SimulatedCreditBureau(latency=settings.CREDIT_BUREAU_LATENCY_SECONDS)
    return HttpCreditBureau.at(
        settings.CREDIT_BUREAU_URL,
        connect_timeout=settings.CREDIT_BUREAU_CONNECT_TIMEOUT_SECONDS,
        read_timeout=settings.CREDIT_BUREAU_READ_TIMEOUT_SECONDS,
        attempts=settings.CREDIT_BUREAU_ATTEMPTS,
    )


@cache
def reservations() -> Reservations:
    """The reservations in the event store, under the settings' key.

    Raises:
        ImproperlyConfigured: there is no key.
    """
    if not settings.HMAC_KEY:
        raise ImproperlyConfigured("Set LEPRET_HMAC_KEY, or DJANGO_SECRET_KEY, to derive it from")
    return Reservations(
        event_store(),
        key=settings.HMAC_KEY,
        lapse_after=timedelta(seconds=settings.RESERVATION_LAPSES_AFTER_SECONDS),
    )
