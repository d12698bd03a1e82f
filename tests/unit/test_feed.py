"""`Feed` reads a subscription in a thread; a subscription that does as it is told stands in."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from esdbclient import RecordedEvent
from esdbclient.events import CaughtUp

from readmodels.feed import Batch, Feed, SubscriptionEnded
from tests.support.loans import recorded_as
from tests.support.processes import wait_until

SECONDS = 5.0


class Lost(Exception):
    """What a subscription raises when its server goes away."""


class FakeSubscription:
    """Delivers what it is given, then waits for more; ends when it is stopped."""

    def __init__(self, *deliveries: RecordedEvent | Exception) -> None:
        self.asked = 0
        self.has_ended = False
        self.is_stopped = False
        self._deliveries: queue.Queue[RecordedEvent | Exception | None] = queue.Queue()
        for each in deliveries:
            self._deliveries.put(each)

    def __iter__(self) -> Iterator[RecordedEvent]:
        while True:
            self.asked += 1
            delivery = self._deliveries.get()
            self.has_ended = delivery is None or isinstance(delivery, Exception)
            if delivery is None:
                return
            if isinstance(delivery, Exception):
                raise delivery
            yield delivery

    def stop(self) -> None:
        self.is_stopped = True
        self.end()

    def end(self) -> None:
        self._deliveries.put(None)

    def has_delivered(self, number: int) -> bool:
        """Whether that many events were handed over: the next one is being asked for."""
        return self.asked > number


@contextmanager
def feed_of(subscription: FakeSubscription, *, ahead: int = 10) -> Iterator[Feed]:
    """A feed that ends its thread when it is left."""
    before = set(threading.enumerate())
    with Feed(lambda: subscription, ahead=ahead) as feed:
        yield feed
    wait_until(lambda: set(threading.enumerate()) <= before, SECONDS, what="no thread is left")
    assert subscription.is_stopped


def next_batch(feed: Feed, *, limit: int = 10) -> Batch:
    return feed.next_batch(limit=limit, timeout=SECONDS)


def events(number: int) -> list[RecordedEvent]:
    return [recorded_as("Any", at=position) for position in range(1, number + 1)]


def test_a_batch_is_what_has_arrived() -> None:
    arrived = events(3)
    subscription = FakeSubscription(*arrived)
    with feed_of(subscription) as feed:
        wait_until(lambda: subscription.has_delivered(3), SECONDS)
        assert next_batch(feed) == Batch(arrived)


def test_a_batch_has_no_more_events_than_asked_for() -> None:
    arrived = events(5)
    subscription = FakeSubscription(*arrived)
    with feed_of(subscription) as feed:
        wait_until(lambda: subscription.has_delivered(5), SECONDS)
        assert [next_batch(feed, limit=2) for _ in range(3)] == [
            Batch(arrived[:2]),
            Batch(arrived[2:4]),
            Batch(arrived[4:]),
        ]


def test_a_batch_is_empty_when_nothing_arrives_in_time() -> None:
    with feed_of(FakeSubscription()) as feed:
        assert feed.next_batch(limit=10, timeout=0.01) == Batch([])


def test_a_batch_ends_where_history_does() -> None:
    history, live = events(3)[:2], events(3)[2:]
    subscription = FakeSubscription(*history, CaughtUp(), *live)
    with feed_of(subscription) as feed:
        wait_until(lambda: subscription.has_delivered(4), SECONDS)
        assert next_batch(feed) == Batch(history, caught_up=True)
        assert next_batch(feed) == Batch(live)


def test_no_history_is_caught_up_with_at_once() -> None:
    with feed_of(FakeSubscription(CaughtUp())) as feed:
        assert next_batch(feed) == Batch([], caught_up=True)


def test_a_failure_is_raised_after_the_events_before_it() -> None:
    arrived = events(2)
    subscription = FakeSubscription(*arrived, Lost())
    with feed_of(subscription, ahead=3) as feed:
        wait_until(lambda: subscription.has_ended, SECONDS)
        assert next_batch(feed, limit=1) == Batch(arrived[:1])
        assert next_batch(feed) == Batch(arrived[1:])
        with pytest.raises(Lost):
            next_batch(feed)


def test_the_end_of_the_subscription_is_an_error() -> None:
    subscription = FakeSubscription()
    with feed_of(subscription) as feed:
        subscription.end()
        with pytest.raises(SubscriptionEnded):
            next_batch(feed)


def test_a_failure_to_subscribe_is_raised() -> None:
    def subscribe() -> FakeSubscription:
        raise Lost

    with Feed(subscribe, ahead=10) as feed, pytest.raises(Lost):
        next_batch(feed)


def test_no_more_is_read_ahead_than_allowed() -> None:
    subscription = FakeSubscription(*events(20))
    with feed_of(subscription, ahead=3) as feed:
        wait_until(lambda: subscription.has_delivered(3), SECONDS)
        assert len(next_batch(feed, limit=3).events) == 3
        wait_until(lambda: subscription.has_delivered(6), SECONDS)
        assert subscription.asked <= 7  # three handed out, three waiting, one in hand


def test_it_can_be_left_while_it_waits_for_an_event() -> None:
    subscription = FakeSubscription()
    with feed_of(subscription):
        wait_until(lambda: subscription.asked, SECONDS)


def test_it_can_be_left_while_nobody_takes_its_events() -> None:
    subscription = FakeSubscription(*events(5))
    with feed_of(subscription, ahead=1):
        wait_until(lambda: subscription.has_delivered(1), SECONDS)


def test_a_subscription_that_comes_about_after_it_was_left_is_stopped() -> None:
    subscription, is_left = FakeSubscription(), threading.Event()

    def subscribe() -> FakeSubscription:
        is_left.wait(SECONDS)
        return subscription

    with Feed(subscribe, ahead=10):
        pass
    is_left.set()

    wait_until(lambda: subscription.is_stopped, SECONDS)
