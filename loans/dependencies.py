"""What the use cases depend on, made from the settings: once per process, when first needed."""

from __future__ import annotations

from datetime import timedelta
from functools import cache

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import close_old_connections

from lepret.common.aside import Aside
from lepret.common.event_store_client import event_store_client
from loans.adapters.credit_bureau import CreditBureau, SimulatedCreditBureau
from loans.adapters.event_store import EventStore, EventStoreDB
from loans.adapters.http_credit_bureau import CallPolicy, HttpCreditBureau
from loans.application.idempotency import IdempotencyKeys
from loans.application.pace import Pace
from loans.application.policies import Policies
from loans.application.reservations import Reservations


@cache
def event_store() -> EventStore:
    """The event store that `EVENTSTORE_URI` names."""
    return EventStoreDB(event_store_client, timeout=settings.EVENTSTORE_TIMEOUT_SECONDS)


@cache
def credit_bureau() -> CreditBureau:
    """The credit bureau that `CREDIT_BUREAU_URL` names, or the simulator."""
    if settings.CREDIT_BUREAU_URL is None:
        return SimulatedCreditBureau(latency=settings.CREDIT_BUREAU_LATENCY_SECONDS)
    policy = CallPolicy(
        connect_timeout=settings.CREDIT_BUREAU_CONNECT_TIMEOUT_SECONDS,
        read_timeout=settings.CREDIT_BUREAU_READ_TIMEOUT_SECONDS,
        deadline=settings.CREDIT_BUREAU_DEADLINE_SECONDS,
        attempts=settings.CREDIT_BUREAU_ATTEMPTS,
        failures=settings.CREDIT_BUREAU_BREAKER_FAILURES,
        pause=settings.CREDIT_BUREAU_BREAKER_PAUSE_SECONDS,
    )
    return HttpCreditBureau(settings.CREDIT_BUREAU_URL, policy)


@cache
def reservations(*, lapse_after_seconds: float | None = None) -> Reservations:
    """The reservations in the event store. The settings have the default for when they lapse.

    Raises:
        ImproperlyConfigured: there is no `HMAC_KEY` in the settings.
    """
    seconds = lapse_after_seconds or settings.RESERVATION_LAPSES_AFTER_SECONDS
    return Reservations(
        event_store(),
        key=_hmac_key(),
        lapse_after=timedelta(seconds=seconds),
        aside=Aside("reservations").do,
    )


@cache
def idempotency_keys() -> IdempotencyKeys:
    """The idempotency keys that the API's callers have used; raises as `reservations`."""
    return IdempotencyKeys(event_store(), secret=_hmac_key())


@cache
def policies() -> Policies:
    """The lending policy, as this process knows it."""
    return Policies(event_store())


@cache
def pace() -> Pace:
    """How long this process's refused applications take. Who waits holds no database connection."""
    return Pace(before_waiting=close_old_connections)


def _hmac_key() -> bytes:
    key: bytes = settings.HMAC_KEY
    if not key:
        raise ImproperlyConfigured("Set LEPRET_HMAC_KEY, or DJANGO_SECRET_KEY to derive it from")
    return key
