"""A worker: one of any number of consumers that share the events of a group.

It acknowledges an event once it is handled. It holds an event that failed for a delay, and handles
others meanwhile. Then it gives the event back to the event store, which counts a retry and delivers
it again, to any worker. After too many retries the event is parked. Events that are unanswered when
a worker ends, or loses its connection, are delivered to others.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Final, Protocol

from esdbclient import RecordedEvent
from esdbclient.exceptions import ConsumerTooSlow, EventStoreDBClientException

from lepret.common.backoff import Backoff, jittered
from lepret.common.error_places import type_and_place
from lepret.common.event_store_client import why_refused
from lepret.common.event_store_connection import SharedClient
from lepret.common.outages import Outage
from loans.adapters import codec
from loans.adapters.event_store import EventStoreUnavailable, NewerVersionNeeded, StreamGone
from loans.domain.loan_request import LoanRequestIsGone
from loans.workers.delay_queue import DelayQueue
from loans.workers.groups import (
    CALL_TIMEOUT_SECONDS,
    MESSAGE_TIMEOUT_SECONDS,
    Group,
    GroupMissing,
    PersistentSubscription,
)
from loans.workers.redelivery import Redelivery

logger = logging.getLogger(__name__)

POLL_SECONDS: Final = 0.1

# On a closed channel gRPC raises ValueError. Another thread may just have reconnected.
_EVENT_STORE_AWAY: Final = (EventStoreDBClientException, ValueError)

_FOR_A_NEWER_VERSION: Final = (NewerVersionNeeded, codec.WrittenByNewerVersion)


@dataclass(frozen=True)
class Timings:
    """How long a worker waits, in seconds.

    Attributes:
        probe_after: without an event, before it checks that the event store still answers.
        ask_again_after: before it handles an event again, while the event store is down.
        finish_within: for running handlers when it stops; after that, another worker takes over.
    """

    probe_after: float = 10.0
    ask_again_after: float = 2.0
    finish_within: float = 20.0


TIMINGS: Final = Timings()

# More than an operator sets for a stream, which is read.
_MOST_KEPT_BYTES: Final = 4_096

_GONE: Final = (StreamGone, LoanRequestIsGone)


class TryAgain(Exception):
    """An event could not be handled, for this reason. Retry after at least `after` seconds."""

    def __init__(self, reason: str, *, after: float = 0.0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.after = after


class NotYet(Exception):
    """An event is due only in so many seconds. That is not a failure."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"{seconds:g} seconds too early")
        self.seconds = seconds


class Handler(Protocol):
    """What a worker does with the events of its group. Used by several threads at once.

    Events with much data come without, since many may have to wait.
    """

    def handle(self, event: RecordedEvent) -> None:
        """Handle an event. Another worker may be handling it too, or may have handled it.

        Raises:
            TryAgain: it failed, and is to be retried.
            NotYet: it is to be handled later.
            EventStoreUnavailable: it is to be handled later; this does not count as a retry.
            StreamGone, LoanRequestIsGone: there is nothing left to do.
            NewerVersionNeeded, WrittenByNewerVersion: it is for a worker of a newer version.
        """

    def give_up(self, event: RecordedEvent, *, reason: str, attempts: int) -> None:
        """Report that an event is about to be parked.

        Raises:
            EventStoreUnavailable: to be called again later.
        """


def log_parked(event: RecordedEvent, *, reason: str, attempts: int) -> None:
    """Log that an event is about to be parked, for a handler that has nobody else to tell."""
    # Without the stream's name, which may stand for a person.
    logger.error(
        "Parked %s at %s after %d attempts (%s)",
        event.type,
        event.commit_position,
        attempts,
        reason,
    )


class Worker:
    """Subscribes to a group's events, and hands them to `handler` in `threads` threads."""

    def __init__(
        self,
        group: Group,
        handler: Handler,
        *,
        connect: Callable[[], SharedClient],
        redelivery: Redelivery,
        threads: int,
        timings: Timings = TIMINGS,
    ) -> None:
        self._group = group
        self._handler = handler
        self._connect = connect
        self._redelivery = redelivery
        self._timings = timings
        self._jobs: DelayQueue[Callable[[], None]] = DelayQueue()
        self._threads = [
            threading.Thread(target=self._work, name=f"{group.purpose}-{number}", daemon=True)
            for number in range(threads)
        ]
        self._has_warned = False
        self._is_missing = False
        self._backoff = Backoff()
        self._outage = Outage(logger, "the event store", consequence="trying to come back")
        # What handlers want of it may be refused while events arrive.
        self._refusal = Outage(
            logger, "the event store", of=group.purpose, consequence="its events wait"
        )

    def run(self, stop: threading.Event, on_ready: Callable[[], object]) -> None:
        """Work until `stop` is set, then let running handlers finish.

        Reconnects by itself. `on_ready` is called after each connection.
        """
        for thread in self._threads:
            thread.start()
        session = None
        while not stop.is_set():
            session = self._begin()
            if session is None:
                stop.wait(self._backoff.next_delay())
                continue
            on_ready()
            self._watch(session, stop)
            if session.lost is not None:
                self._abandon(session, session.lost)
                session = None
        self._finish()
        if session is not None:
            session.close()

    # In the worker's own thread --------------------------------------------------------------

    def _begin(self) -> Session | None:
        try:
            self._warn_once()
            session = Session(self._group.subscribe(self._connect()), self._take)
        except GroupMissing as missing:
            self._outage.end()
            self._note_missing(missing)
            return None
        except _EVENT_STORE_AWAY as error:
            self._outage.begin(type(error).__qualname__, why_refused(error))
            return None
        session.start()
        self._outage.end()
        self._note_found()
        self._backoff.reset()
        return session

    def _warn_once(self) -> None:
        if not self._has_warned:
            self._group.warn(self._connect())
            self._has_warned = True

    def _note_missing(self, missing: GroupMissing) -> None:
        if not self._is_missing:
            logger.warning("%s. Trying again until it is there", missing)
        self._is_missing = True

    def _note_found(self) -> None:
        if self._is_missing:
            logger.info("The group %s is there now", self._group.name)
        self._is_missing = False

    def _watch(self, session: Session, stop: threading.Event) -> None:
        """Wait until the worker is stopped or the session is lost."""
        while not stop.wait(POLL_SECONDS):
            self._probe_if_silent(session)
            if session.lost is not None:
                return

    def _probe_if_silent(self, session: Session) -> None:
        """Check that the event store still answers: a connection may be lost without an error."""
        if time.monotonic() - session.heard_at < self._timings.probe_after:
            return
        session.heard_at = time.monotonic()
        try:
            self._group.check(self._connect())
        except _EVENT_STORE_AWAY as error:
            session.lost = type(error).__qualname__

    def _finish(self) -> None:
        """Let running handlers finish. Events that are not begun are left to other workers."""
        self._jobs.close()
        deadline = time.monotonic() + self._timings.finish_within
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _abandon(self, session: Session, lost: str) -> None:
        if lost == ConsumerTooSlow.__qualname__:
            logger.info("The event store was read too slowly, and goes on where it was")
        else:
            self._outage.begin(lost)
        self._jobs.clear()
        # Closing may block: it tries to send the last answers over the lost connection.
        threading.Thread(target=session.close, daemon=True).start()

    # In the session's thread -----------------------------------------------------------------

    def _take(self, delivery: DeliveredEvent) -> None:
        if not self._group.is_wanted(delivery.event):
            delivery.ack()
            return
        self._jobs.put(partial(self._handle, delivery))

    # In any of the worker's threads ----------------------------------------------------------

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()

    def _handle(self, delivery: DeliveredEvent) -> None:
        if delivery.is_void:
            return
        again = partial(self._handle, delivery)
        try:
            self._handler.handle(delivery.event)
        except NotYet as too_early:
            self._jobs.put(again, after=too_early.seconds)
        except _FOR_A_NEWER_VERSION:
            self._leave_to_a_newer_version(delivery)
        except EventStoreUnavailable as error:
            self._wait_for_store(again, error)
        except _GONE:
            _pass_over(delivery)
        except TryAgain as failure:
            self._try_again(delivery, failure)
        except Exception as error:  # noqa: BLE001 (no event may end the worker)
            place = type_and_place(error)
            logger.warning("Could not handle %s: %s", delivery, place)
            self._try_again(delivery, TryAgain(place))
        else:
            self._refusal.end()
            delivery.ack()

    def _try_again(self, delivery: DeliveredEvent, failure: TryAgain) -> None:
        try:
            now = self._connect().store_time(timeout=CALL_TIMEOUT_SECONDS)
        except _EVENT_STORE_AWAY as error:
            self._wait_for_store(partial(self._try_again, delivery, failure), error)
            return
        if self._redelivery.is_used_up(delivery.retry_count, age=delivery.age(now)):
            self._give_up(delivery, failure.reason)
            return
        delay = self._redelivery.delay(delivery.retry_count, at_least=failure.after)
        self._jobs.put(delivery.retry, after=delay)

    def _give_up(self, delivery: DeliveredEvent, reason: str) -> None:
        try:
            self._handler.give_up(delivery.event, reason=reason, attempts=delivery.retry_count + 1)
        except _FOR_A_NEWER_VERSION:
            self._leave_to_a_newer_version(delivery)
            return
        except EventStoreUnavailable as error:
            self._wait_for_store(partial(self._give_up, delivery, reason), error)
            return
        except _GONE:
            _pass_over(delivery)
            return
        except Exception as error:  # noqa: BLE001 (it is parked in any case)
            logger.error("Could not tell that %s is parked: %s", delivery, type_and_place(error))
        delivery.park()

    def _leave_to_a_newer_version(self, delivery: DeliveredEvent) -> None:
        """Give it back, for as long as it takes: a worker of that version gets it in the end."""
        logger.warning("Left %s to a worker of a newer version", delivery)
        delay = self._redelivery.delay(delivery.retry_count)
        self._jobs.put(delivery.retry, after=delay)

    def _wait_for_store(self, job: Callable[[], None], error: Exception) -> None:
        if why := why_refused(error):
            self._refusal.begin(type(error).__qualname__, why)
        self._jobs.put(job, after=jittered(self._timings.ask_again_after))


def _pass_over(delivery: DeliveredEvent) -> None:
    """Be done with an event whose stream, or another that it is about, was deleted or truncated."""
    logger.warning("Passed over %s: a stream that it needs was deleted or truncated", delivery)
    delivery.ack()


class Session:
    """One connection to the group: a subscription that a thread of its own reads until its end."""

    def __init__(
        self, subscription: PersistentSubscription, take: Callable[[DeliveredEvent], None]
    ) -> None:
        self.subscription: Final = subscription
        self.heard_at = time.monotonic()
        self.lost: str | None = None
        """Why the subscription has ended; `None` while it runs."""
        self._take = take
        self._thread = threading.Thread(target=self._read, name="subscription", daemon=True)

    def start(self) -> None:
        """Begin to read events."""
        self._thread.start()

    def close(self) -> None:
        """Send the remaining answers; unanswered events go to other workers."""
        self.subscription.stop()

    def _read(self) -> None:
        try:
            for event in self.subscription:
                self.heard_at = time.monotonic()
                self._take(DeliveredEvent(_light(event), self))
            self.lost = "it ended the subscription"
        except _EVENT_STORE_AWAY as error:
            self.lost = type(error).__qualname__


def _light(event: RecordedEvent) -> RecordedEvent:
    # Of our own events handlers read the stream, which has more than one event by then.
    is_light = len(event.data) + len(event.metadata) <= _MOST_KEPT_BYTES
    return event if is_light else codec.without_payload(event)


class DeliveredEvent:
    """An event that must be answered. Its `str` has no personal data."""

    def __init__(self, event: RecordedEvent, session: Session) -> None:
        self.event: Final = event
        self._session = session
        self._expires = time.monotonic() + MESSAGE_TIMEOUT_SECONDS

    def __str__(self) -> str:
        return f"{self.event.type} at {self.event.commit_position}"

    @property
    def is_void(self) -> bool:
        """Whether the event store may have given the event to another worker meanwhile."""
        return self._session.lost is not None or time.monotonic() >= self._expires

    @property
    def retry_count(self) -> int:
        """How often the event was delivered before."""
        return self.event.retry_count or 0

    def age(self, now: datetime) -> float:
        """Seconds since the event was recorded; `now` is by the event store's clock."""
        assert self.event.recorded_at is not None, "the event store sends it with every event"
        return (now - self.event.recorded_at).total_seconds()

    def ack(self) -> None:
        """Tell the event store that the event was handled."""
        self._session.subscription.ack(self.event)

    def retry(self) -> None:
        """Have the event delivered again; this counts as a retry."""
        self._session.subscription.nack(self.event, "retry")

    def park(self) -> None:
        """Have the event set aside until an operator replays parked events."""
        self._session.subscription.nack(self.event, "park")
