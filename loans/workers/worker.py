"""Works off the events of a group, together with any number of others like it.

An event that was handled is acknowledged. One that failed is held here for a while, out of the way
of others, and then given back to the event store, which counts that and delivers it again, here or
elsewhere. Where that has not helped often enough, it is parked. Whatever a worker has not answered
when it is killed, stopped, or cut off, the event store delivers to another.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Final, Protocol

from django.utils import timezone
from esdbclient import RecordedEvent
from esdbclient.exceptions import EventStoreDBClientException

from lepret.common.backoff import Backoff, jittered
from lepret.common.error_places import type_and_place
from lepret.common.outages import Outage
from loans.adapters.event_store import EventStoreUnavailable
from loans.workers.delay_queue import DelayQueue
from loans.workers.groups import (
    MESSAGE_TIMEOUT_SECONDS,
    Connect,
    Group,
    Subscription,
)
from loans.workers.redelivery import Redelivery

logger = logging.getLogger(__name__)

POLL_SECONDS: Final = 0.1
PROBE_AFTER_IDLE_SECONDS: Final = 10.0
# Longer than any call of the credit bureau or the event store.
FINISH_WITHIN_SECONDS: Final = 20.0
_SECONDS_UNTIL_STORE_IS_ASKED_AGAIN: Final = 2.0

# With a closed channel gRPC complains by a ValueError, where another thread has just reconnected.
_EVENT_STORE_AWAY: Final = (EventStoreDBClientException, ValueError)


class TryAgain(Exception):
    """It cannot be done now; says why, and after how many seconds at least it may be."""

    def __init__(self, reason: str, *, after: float = 0.0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.after = after


class NotYet(Exception):
    """It is too early by so many seconds. That is no failure."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"{seconds:g} seconds too early")
        self.seconds = seconds


class Handler(Protocol):
    """What a group of workers is there for. Threads use it at the same time."""

    def handle(self, event: RecordedEvent) -> None:
        """Do what is to follow from an event, which others may be doing, or may have done, too.

        Raises:
            TryAgain: it failed.
            NotYet: it is to be kept for a while.
            EventStoreUnavailable: the event is not to blame; it is kept, and that does not count.
        """

    def give_up(self, event: RecordedEvent, *, reason: str, attempts: int) -> None:
        """Have it known that an event is being parked.

        Raises:
            EventStoreUnavailable: not now.
        """


class Worker:
    """One of a group: hands its events to `handler`, in `threads` threads."""

    def __init__(
        self,
        group: Group,
        handler: Handler,
        *,
        connect: Connect,
        redelivery: Redelivery,
        threads: int,
    ) -> None:
        self._group = group
        self._handler = handler
        self._connect = connect
        self._redelivery = redelivery
        self._jobs: DelayQueue[Callable[[], None]] = DelayQueue()
        self._threads = [
            threading.Thread(target=self._work, name=f"{group.name}-{number}", daemon=True)
            for number in range(threads)
        ]
        self._backoff = Backoff()
        self._outage = Outage(logger, "the event store", consequence="trying to come back")

    def run(self, stop: threading.Event, on_ready: Callable[[], object]) -> None:
        """Take part until `stop` is set, then finish what has begun.

        It comes back by itself from whatever goes away; `on_ready` is called each time that it
        takes part.
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
            session = Session(self._group.subscribe(self._connect()), self._take)
        except _EVENT_STORE_AWAY as error:
            self._outage.begin(type(error).__qualname__)
            return None
        session.start()
        self._outage.end()
        self._backoff.reset()
        return session

    def _watch(self, session: Session, stop: threading.Event) -> None:
        """Wait until there is nothing more to come of a session."""
        while not stop.wait(POLL_SECONDS):
            self._probe_if_silent(session)
            if session.lost is not None:
                return

    def _probe_if_silent(self, session: Session) -> None:
        """Ask whether there is nothing, or nobody: a connection may break without a word."""
        if time.monotonic() - session.heard_at < PROBE_AFTER_IDLE_SECONDS:
            return
        session.heard_at = time.monotonic()
        try:
            self._group.check(self._connect())
        except _EVENT_STORE_AWAY as error:
            session.lost = type(error).__qualname__

    def _finish(self) -> None:
        """Let what has begun come to its end; what has not stays for others."""
        self._jobs.close()
        deadline = time.monotonic() + FINISH_WITHIN_SECONDS
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _abandon(self, session: Session, lost: str) -> None:
        self._outage.begin(lost)
        self._jobs.clear()
        # It waits for answers to be sent that cannot be sent any more.
        threading.Thread(target=session.close, daemon=True).start()

    # In the session's thread -----------------------------------------------------------------

    def _take(self, delivery: Delivery) -> None:
        self._jobs.put(partial(self._handle, delivery))

    # In any of the threads that work ---------------------------------------------------------

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()

    def _handle(self, delivery: Delivery) -> None:
        if delivery.is_void:
            return
        again = partial(self._handle, delivery)
        try:
            self._handler.handle(delivery.event)
        except NotYet as too_early:
            self._jobs.put(again, after=too_early.seconds)
        except EventStoreUnavailable:
            self._jobs.put(again, after=jittered(_SECONDS_UNTIL_STORE_IS_ASKED_AGAIN))
        except TryAgain as failure:
            self._try_again(delivery, failure)
        except Exception as error:  # noqa: BLE001 (no event may end the worker)
            place = type_and_place(error)
            logger.warning("Could not handle %s: %s", delivery, place)
            self._try_again(delivery, TryAgain(place))
        else:
            delivery.ack()

    def _try_again(self, delivery: Delivery, failure: TryAgain) -> None:
        if self._redelivery.is_used_up(delivery.retry_count, age=delivery.age):
            self._give_up(delivery, failure.reason)
            return
        delay = self._redelivery.delay(delivery.retry_count, at_least=failure.after)
        self._jobs.put(delivery.retry, after=delay)

    def _give_up(self, delivery: Delivery, reason: str) -> None:
        try:
            self._handler.give_up(delivery.event, reason=reason, attempts=delivery.retry_count + 1)
        except EventStoreUnavailable:
            again = partial(self._give_up, delivery, reason)
            self._jobs.put(again, after=jittered(_SECONDS_UNTIL_STORE_IS_ASKED_AGAIN))
            return
        except Exception as error:  # noqa: BLE001 (it is parked in any case)
            logger.error("Could not tell that %s is parked: %s", delivery, type_and_place(error))
        delivery.park()


class Session:
    """A subscription as long as it lasts, read in a thread of its own."""

    def __init__(self, subscription: Subscription, take: Callable[[Delivery], None]) -> None:
        self.subscription: Final = subscription
        self.heard_at = time.monotonic()
        self.lost: str | None = None
        """How it showed that nothing more is to come."""
        self._take = take
        self._thread = threading.Thread(target=self._read, name="subscription", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def close(self) -> None:
        """Send the answers that were given, and leave the rest to others."""
        self.subscription.stop()

    def _read(self) -> None:
        try:
            for event in self.subscription:
                self.heard_at = time.monotonic()
                self._take(Delivery(event, self))
            self.lost = "it ended the subscription"
        except _EVENT_STORE_AWAY as error:
            self.lost = type(error).__qualname__


class Delivery:
    """An event that is to be answered. As text it tells nothing of what is in the event."""

    def __init__(self, event: RecordedEvent, session: Session) -> None:
        self.event: Final = event
        self._session = session
        self._expires = time.monotonic() + MESSAGE_TIMEOUT_SECONDS

    def __str__(self) -> str:
        return f"{self.event.type} at {self.event.commit_position}"

    @property
    def is_void(self) -> bool:
        """Whether the event store has given the event to someone else meanwhile."""
        return self._session.lost is not None or time.monotonic() >= self._expires

    @property
    def retry_count(self) -> int:
        """How often it was delivered before."""
        return self.event.retry_count or 0

    @property
    def age(self) -> float:
        """Seconds since the event was recorded."""
        assert self.event.recorded_at is not None, "the event store tells it of every event"
        return (timezone.now() - self.event.recorded_at).total_seconds()

    def ack(self) -> None:
        """It is done with."""
        self._session.subscription.ack(self.event)

    def retry(self) -> None:
        """Have it delivered again, and that counted."""
        self._session.subscription.nack(self.event, "retry")

    def park(self) -> None:
        """Have it put aside until someone has parked events replayed."""
        self._session.subscription.nack(self.event, "park")
