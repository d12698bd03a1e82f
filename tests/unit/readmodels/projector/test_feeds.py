"""Feeds of fake subscriptions, which deliver what a test wants."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, cycle
from typing import Final

import pytest
from esdbclient import RecordedEvent
from esdbclient.events import CaughtUp, Checkpoint
from esdbclient.exceptions import ConsumerTooSlow, DeadlineExceeded
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from readmodels.live import slow_reads
from readmodels.projector.bookmarks import Bookmark, StoreReplaced
from readmodels.projector.feeds import (
    Batch,
    FeedCursor,
    Feeds,
    SubscriptionEnded,
    SubscriptionStalled,
)
from readmodels.projector.received import Received
from readmodels.projector.tuning import Tuning
from tests.support.loans import recorded_as
from tests.support.processes import PATIENCE, wait_until
from tests.support.projectors import running

SHORT_WAITS = Tuning(most_wait_seconds=0.02, linger_seconds=0.0, grace_seconds=0.05)
# While history is read, a batch waits until it is full.
LINGERING = replace(SHORT_WAITS, linger_seconds=PATIENCE)
PROBING_AT_ONCE = replace(SHORT_WAITS, probe_after_idle_seconds=0.0)


class Lost(Exception):
    """Raised by a subscription whose server goes away."""


class FakeSubscription:
    """Delivers the events that it is given, waits for more, and ends when it is stopped."""

    def __init__(self, *deliveries: RecordedEvent | Exception) -> None:
        self.asked = self.given = 0
        self.has_ended = False
        self.is_stopped = False
        self._deliveries: queue.Queue[RecordedEvent | Exception | None] = queue.Queue()
        for each in deliveries:
            self.deliver(each)

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

    def deliver(self, delivery: RecordedEvent | Exception) -> None:
        self.given += 1
        self._deliveries.put(delivery)

    def stop(self) -> None:
        self.is_stopped = True
        self.end()

    def end(self) -> None:
        self._deliveries.put(None)

    def has_delivered(self, number: int) -> bool:
        """Whether that many events were delivered, and the next one is being asked for."""
        return self.asked > number


class FakeSource:
    """Returns the given subscriptions one after the other."""

    def __init__(self, *subscriptions: FakeSubscription | Exception) -> None:
        self._subscriptions = list(subscriptions)
        self.last = 0

    def subscribe(self, after: int) -> FakeSubscription:
        subscription = self._subscriptions.pop(0)
        if isinstance(subscription, Exception):
            raise subscription
        return subscription

    def has_event_after(self, position: int) -> bool:
        return self.last > position

    def last_position(self) -> int:
        return self.last

    def check(self, bookmark: Bookmark) -> None:
        """It is always the same store."""


class FakeStore:
    """Has an event at each position from 1 on; any number of subscriptions can read them."""

    def __init__(self, count: int = 0) -> None:
        self.subscriptions: list[tuple[int, FakeSubscription]] = []
        self._lock = threading.Lock()
        self._events = [event(at) for at in range(1, count + 1)]

    def subscribe(self, after: int) -> FakeSubscription:
        with self._lock:
            subscription = FakeSubscription(*self._events[after:], CaughtUp())
            self.subscriptions.append((after, subscription))
            return subscription

    def append(self, count: int = 1) -> None:
        with self._lock:
            for _ in range(count):
                self._events.append(event(len(self._events) + 1))
                for _, subscription in self.subscriptions:
                    subscription.deliver(self._events[-1])

    def has_event_after(self, position: int) -> bool:
        return len(self._events) > position

    def last_position(self) -> int:
        return len(self._events)

    def check(self, bookmark: Bookmark) -> None:
        """It is always the same store."""


def event(at: int) -> RecordedEvent:
    return recorded_as("Any", b"", at=at)


def large_event(at: int) -> RecordedEvent:
    """One of ours, of about 100 kB."""
    return recorded_as("LoanRequested", b"x" * 100_000, at=at)


def events(number: int) -> list[RecordedEvent]:
    return [event(at) for at in range(1, number + 1)]


@dataclass(frozen=True)
class Taken:
    """What was in a batch."""

    events: list[RecordedEvent]
    caught_up: bool = False


@contextmanager
def no_thread_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    wait_until(lambda: set(threading.enumerate()) <= before, what="no thread is left")


@contextmanager
def only_cursor(
    subscription: FakeSubscription, tuning: Tuning = SHORT_WAITS, *, ahead: int = 10
) -> Iterator[FeedCursor]:
    """A cursor on a feed of its own, which must end with the block."""
    with no_thread_left():
        with Feeds(FakeSource(subscription), replace(tuning, ahead=ahead)).after(
            Bookmark()
        ) as cursor:
            yield cursor
        assert subscription.is_stopped


@contextmanager
def cursors(feeds: Feeds, *positions: int) -> Iterator[list[FeedCursor]]:
    """A cursor after each position; no feed may be left at the end of the block."""
    with no_thread_left():
        with ExitStack() as stack:
            yield [stack.enter_context(feeds.after(Bookmark(position))) for position in positions]
        assert feeds.count == 0


def take(cursor: FeedCursor, *, limit: int = 10) -> Taken:
    return seen(cursor.next_batch(limit=limit, timeout=PATIENCE))


def deliver(subscription: FakeSubscription, *arriving: RecordedEvent) -> None:
    """Deliver these, and wait until they have arrived."""
    for each in arriving:
        subscription.deliver(each)
    wait_until(lambda: subscription.has_delivered(subscription.given))


def take_chosen(
    cursor: FeedCursor, chosen: int, *, limit: int = 10, timeout: float = PATIENCE
) -> Taken:
    """Wait for the event at a position; others are not worth it."""

    def is_chosen(received: Received) -> bool:
        return received.position == chosen

    return seen(cursor.next_batch(limit=limit, timeout=timeout, wakes=is_chosen))


def seen(batch: Batch) -> Taken:
    return Taken([each.recorded for each in batch.events], batch.caught_up)


def take_up_to(cursor: FeedCursor, position: int, *, limit: int = 10) -> list[int]:
    """Take events up to the one at a position; returns the positions of all."""
    taken: list[int] = []
    while cursor.position < position:
        events = take(cursor, limit=min(limit, position - cursor.position)).events
        taken += [each.commit_position or 0 for each in events]
    return taken


def take_for_ever(cursor: FeedCursor) -> None:
    while True:
        take(cursor)


def numbers(after: int, up_to: int) -> list[int]:
    return list(range(after + 1, up_to + 1))


class TestABatch:
    def test_is_what_has_arrived(self) -> None:
        arrived = events(3)
        subscription = FakeSubscription(*arrived)
        with only_cursor(subscription) as cursor:
            assert take(cursor, limit=1) == Taken(arrived[:1])
            wait_until(lambda: subscription.has_delivered(3))
            assert take(cursor) == Taken(arrived[1:])

    def test_has_no_more_events_than_asked_for(self) -> None:
        arrived = events(5)
        with only_cursor(FakeSubscription(*arrived, CaughtUp()), LINGERING) as cursor:
            taken = [take(cursor, limit=2) for _ in range(3)]
        assert [each.events for each in taken] == [arrived[:2], arrived[2:4], arrived[4:]]

    def test_is_empty_when_nothing_arrives_in_time(self) -> None:
        with only_cursor(FakeSubscription()) as cursor:
            assert cursor.next_batch(limit=10, timeout=0.01) == Batch([])

    def test_becomes_full_while_history_is_read(self) -> None:
        subscription, arrived = FakeSubscription(), events(4)

        def deliver() -> None:
            for number, each in enumerate(arrived, 1):
                wait_until(partial(subscription.has_delivered, number - 1), every=0.001)
                subscription.deliver(each)

        with (
            only_cursor(subscription, LINGERING) as cursor,
            running(deliver, threading.Event()),
        ):
            assert take(cursor, limit=4) == Taken(arrived)

    def test_is_what_there_is_when_history_has_ended(self) -> None:
        subscription, arrived = FakeSubscription(CaughtUp()), events(1)
        with only_cursor(subscription, LINGERING) as cursor:
            assert take(cursor) == Taken([], caught_up=True)
            assert cursor.is_caught_up
            subscription.deliver(arrived[0])
            assert take(cursor) == Taken(arrived)

    def test_says_where_history_ended_once(self) -> None:
        history, later = events(3)[:2], event(3)
        subscription = FakeSubscription(*history, CaughtUp())
        with only_cursor(subscription, LINGERING) as cursor:
            assert take(cursor) == Taken(history, caught_up=True)
            subscription.deliver(later)
            assert take(cursor) == Taken([later])


class TestAWaitForWhatIsWorthIt:
    """With `wakes`."""

    def test_ends_with_the_event_that_is(self) -> None:
        subscription, arrived = FakeSubscription(CaughtUp()), events(3)
        with only_cursor(subscription) as cursor, ThreadPoolExecutor(1) as threads:
            assert take(cursor).caught_up
            taking = threads.submit(take_chosen, cursor, 3)
            deliver(subscription, *arrived[:2])
            subscription.deliver(arrived[2])
            assert taking.result(PATIENCE) == Taken(arrived)

    def test_ends_when_the_batch_is_full(self) -> None:
        subscription, arrived = FakeSubscription(CaughtUp()), events(3)
        with only_cursor(subscription) as cursor, ThreadPoolExecutor(1) as threads:
            assert take(cursor).caught_up
            taking = threads.submit(take_chosen, cursor, 9, limit=2)
            deliver(subscription, *arrived)
            assert taking.result(PATIENCE) == Taken(arrived[:2])

    def test_does_not_begin_if_it_has_arrived(self) -> None:
        subscription, arrived = FakeSubscription(CaughtUp()), events(2)
        with only_cursor(subscription) as cursor:
            assert take(cursor).caught_up
            deliver(subscription, *arrived)
            assert take_chosen(cursor, 1) == Taken(arrived)

    def test_ends_with_the_time_and_what_there_is(self) -> None:
        subscription, arrived = FakeSubscription(CaughtUp()), events(2)
        with only_cursor(subscription) as cursor:
            assert take(cursor).caught_up
            deliver(subscription, *arrived)
            assert take_chosen(cursor, 9, timeout=0.001) == Taken(arrived)

    def test_ends_with_a_failure(self) -> None:
        subscription = FakeSubscription(CaughtUp())
        with only_cursor(subscription) as cursor, ThreadPoolExecutor(1) as threads:
            assert take(cursor).caught_up
            taking = threads.submit(take_chosen, cursor, 9)
            subscription.deliver(Lost())
            with pytest.raises(Lost):
                taking.result(PATIENCE)


class TestABatchOfLargeEvents:
    TUNING: Final = replace(LINGERING, batch_bytes=250_000, ahead_bytes=450_000, keep_bytes=100_000)

    def test_ends_with_the_event_that_makes_it_too_large(self) -> None:
        arrived = [large_event(at) for at in range(1, 6)]
        with only_cursor(FakeSubscription(*arrived, CaughtUp()), self.TUNING) as cursor:
            taken = [take(cursor).events for _ in range(2)]
        assert taken == [arrived[:3], arrived[3:]]

    def test_does_not_wait_for_more_than_there_is_room_for(self) -> None:
        arrived = [large_event(at) for at in range(1, 20)]
        patient = replace(self.TUNING, batch_bytes=10**9, linger_seconds=PATIENCE)
        with only_cursor(FakeSubscription(*arrived, CaughtUp()), patient, ahead=100) as cursor:
            assert take(cursor, limit=100) == Taken(arrived[:5])
            assert take_up_to(cursor, 19, limit=100) == numbers(5, 19)

    def test_leaves_no_more_than_so_many_bytes_read_ahead_or_kept(self) -> None:
        subscription = FakeSubscription(*[large_event(at) for at in range(1, 31)], CaughtUp())
        feeds = Feeds(FakeSource(subscription), replace(self.TUNING, ahead=100, keep=100))
        with feeds.after(Bookmark()) as cursor:
            taken: list[int] = []
            while len(taken) < 30:
                taken += [each.commit_position or 0 for each in take(cursor).events]
                [kept] = feeds.window_sizes
                # Five ahead, and at most twice what is kept, with the event that is too much.
                assert kept <= 5 + 3
            assert taken == numbers(0, 30)

    def test_of_others_has_no_payload_and_counts_as_small(self) -> None:
        small = events(10)
        arrived = [replace(each, data=b"x" * 100_000, metadata=b"{}") for each in small]
        with only_cursor(FakeSubscription(*arrived, CaughtUp()), self.TUNING) as cursor:
            assert take(cursor) == Taken(small, caught_up=True)


class TestAFailure:
    def test_is_raised_after_the_events_before_it(self) -> None:
        arrived = events(2)
        subscription = FakeSubscription(*arrived, Lost())
        with only_cursor(subscription, ahead=3) as cursor:
            assert take(cursor, limit=1) == Taken(arrived[:1])
            wait_until(lambda: subscription.has_ended)
            assert take(cursor) == Taken(arrived[1:])
            with pytest.raises(Lost):
                take(cursor)

    def test_is_the_end_of_the_subscription(self) -> None:
        subscription = FakeSubscription()
        with only_cursor(subscription) as cursor:
            subscription.end()
            with pytest.raises(SubscriptionEnded):
                take(cursor)

    def test_to_subscribe_is_raised(self) -> None:
        with (
            no_thread_left(),
            Feeds(FakeSource(Lost()), SHORT_WAITS).after(Bookmark()) as cursor,
            pytest.raises(Lost),
        ):
            take(cursor)

    def test_is_raised_to_all_who_then_share_a_new_subscription(self) -> None:
        store = FakeStore(5)
        with cursors(Feeds(store, SHORT_WAITS), 0, 0, 0) as three:
            for each in three:
                take_up_to(each, 5)
            store.subscriptions[0][1].deliver(Lost())
            for each in three:
                with pytest.raises(Lost):
                    take_for_ever(each)
            store.append(5)
            assert [take_up_to(each, 10) for each in three] == [numbers(5, 10)] * 3
            assert [after for after, _ in store.subscriptions] == [0, 5]


class TestBeingTooSlow:
    def test_is_no_loss(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO)
        store = FakeStore(5)
        with cursors(Feeds(store, SHORT_WAITS), 0, 0) as both:
            for each in both:
                take_up_to(each, 5)
            store.subscriptions[0][1].deliver(ConsumerTooSlow())
            wait_until(lambda: len(store.subscriptions) > 1)
            store.append(5)
            assert [take_up_to(each, 10) for each in both] == [numbers(5, 10)] * 2
            assert [after for after, _ in store.subscriptions] == [0, 5]
        assert [each.levelname for each in caplog.records] == ["INFO"]

    def test_is_counted(self) -> None:
        before = slow_reads.count() or 0
        subscription = FakeSubscription(*events(1), ConsumerTooSlow())
        source = FakeSource(subscription, FakeSubscription(event(2)))
        with cursors(Feeds(source, SHORT_WAITS), 0) as (cursor,):
            assert take_up_to(cursor, 2) == [1, 2]
        wait_until(lambda: slow_reads.count() == before + 1)

    def test_before_anything_arrives_is_a_failure_to_wait_after(self) -> None:
        source = FakeSource(FakeSubscription(ConsumerTooSlow()))
        with (
            cursors(Feeds(source, SHORT_WAITS), 0) as (cursor,),
            pytest.raises(ConsumerTooSlow),
        ):
            take(cursor)


class TestTheProbe:
    def test_finds_a_subscription_that_has_stalled(self) -> None:
        source = FakeSource(FakeSubscription(), FakeSubscription(event(7)))
        source.last = 7
        with cursors(Feeds(source, PROBING_AT_ONCE), 0) as (cursor,):
            assert cursor.next_batch(limit=1, timeout=0.01) == Batch([])
            with pytest.raises(SubscriptionStalled):
                take(cursor)
            assert take_up_to(cursor, 7) == [7]

    def test_finds_a_store_that_does_not_answer_for_all_who_share_a_subscription(self) -> None:
        hangs = threading.Event()

        class Source(FakeSource):
            def has_event_after(self, position: int) -> bool:
                if hangs.is_set():
                    raise DeadlineExceeded
                return False

        feeds = Feeds(Source(FakeSubscription()), PROBING_AT_ONCE)
        with cursors(feeds, 0, 0) as (one, other):
            for each in (one, other):
                assert each.next_batch(limit=1, timeout=0.001) == Batch([])
            hangs.set()
            assert one.next_batch(limit=1, timeout=0.001) == Batch([])
            for each in (other, one):
                with pytest.raises(DeadlineExceeded):
                    take(each)

    def test_does_not_mind_silence_when_there_is_nothing(self) -> None:
        subscription = FakeSubscription(event(7))
        source = FakeSource(subscription)
        with cursors(Feeds(source, PROBING_AT_ONCE), 0) as (cursor,):
            take_up_to(cursor, 7)
            source.last = 7
            for _ in range(3):
                assert cursor.next_batch(limit=1, timeout=0.001) == Batch([])

    def test_asks_for_what_comes_after_the_part_that_the_store_has_searched(self) -> None:
        asked: list[int] = []

        class Source(FakeSource):
            def has_event_after(self, position: int) -> bool:
                asked.append(position)
                return False

        searched = Checkpoint(commit_position=500_000, prepare_position=500_000)
        feeds = Feeds(Source(FakeSubscription(event(7), searched)), PROBING_AT_ONCE)
        with cursors(feeds, 0) as (cursor,):
            assert take_up_to(cursor, 7) == [7]
            wait_until(lambda: _ask(cursor) and asked[-1:] == [500_000])

    def test_does_not_mind_an_event_that_is_on_its_way(self) -> None:
        subscription, on_its_way = FakeSubscription(), event(7)

        class Source(FakeSource):
            def has_event_after(self, position: int) -> bool:
                subscription.deliver(on_its_way)
                return True

        tuning = replace(PROBING_AT_ONCE, grace_seconds=PATIENCE)
        with cursors(Feeds(Source(subscription), tuning), 0) as (cursor,):
            assert cursor.next_batch(limit=1, timeout=0.01) == Batch([])
            assert take(cursor) == Taken([on_its_way])


class ReplaceableSource(FakeSource):
    """Its store is replaced when it has been compared so many times."""

    def __init__(self, *subscriptions: FakeSubscription, after: int) -> None:
        super().__init__(*subscriptions)
        self.compared: list[int] = []
        self._after = after

    def check(self, bookmark: Bookmark) -> None:
        self.compared.append(bookmark.position)
        if len(self.compared) > self._after:
            raise StoreReplaced


class TestAStoreThatWasReplaced:
    def test_is_noticed_before_anything_is_asked_of_it(self) -> None:
        source = ReplaceableSource(after=0)  # It has no subscription.
        with cursors(Feeds(source, SHORT_WAITS), 3) as (cursor,), pytest.raises(StoreReplaced):
            take(cursor)
        assert source.compared == [3]

    def test_just_before_the_subscription_began_is_noticed_before_events_are_handed_out(
        self,
    ) -> None:
        source = ReplaceableSource(FakeSubscription(event(4)), after=1)
        with cursors(Feeds(source, SHORT_WAITS), 3) as (cursor,), pytest.raises(StoreReplaced):
            take(cursor)
        assert source.compared == [3, 3]

    def test_is_noticed_at_each_new_subscription(self) -> None:
        source = ReplaceableSource(FakeSubscription(event(4), Lost()), after=2)
        with cursors(Feeds(source, SHORT_WAITS), 3) as (cursor,):
            assert take_up_to(cursor, 4) == [4]
            with pytest.raises(Lost):
                take(cursor)
            with pytest.raises(StoreReplaced):
                take(cursor)
        assert source.compared == [3, 3, 4]

    def test_behind_a_connection_that_broke_without_notice_is_noticed_after_a_silence(
        self,
    ) -> None:
        source = ReplaceableSource(FakeSubscription(event(4)), after=2)
        with cursors(Feeds(source, PROBING_AT_ONCE), 3) as (cursor,):
            assert take_up_to(cursor, 4) == [4]
            assert cursor.next_batch(limit=1, timeout=0.01) == Batch([])
            with pytest.raises(StoreReplaced):
                take(cursor)
        assert source.compared == [3, 3, 4]


def _ask(cursor: FeedCursor) -> bool:
    return cursor.next_batch(limit=1, timeout=0.001) == Batch([])


class TestAFeed:
    def test_reads_no_more_ahead_than_allowed(self) -> None:
        subscription = FakeSubscription(*events(20))
        with only_cursor(subscription, ahead=3) as cursor:
            take_up_to(cursor, 1)
            wait_until(lambda: subscription.has_delivered(4))
            take_up_to(cursor, 4)
            wait_until(lambda: subscription.has_delivered(7))
            assert subscription.asked <= 8  # Four taken, three waiting, one in hand.

    def test_keeps_no_more_than_it_must(self) -> None:
        feeds = Feeds(FakeStore(300), replace(SHORT_WAITS, ahead=7, keep=10))
        with cursors(feeds, 0) as (cursor,):
            for position in range(5, 301, 5):
                take_up_to(cursor, position, limit=3)
                assert max(feeds.window_sizes) <= 7 + 2 * 10

    def test_can_be_left_while_it_waits_for_an_event(self) -> None:
        subscription = FakeSubscription()
        with only_cursor(subscription) as cursor:
            assert cursor.next_batch(limit=1, timeout=0.0) == Batch([])
            wait_until(lambda: subscription.asked)

    def test_can_be_left_while_nobody_takes_its_events(self) -> None:
        subscription = FakeSubscription(*events(5))
        with only_cursor(subscription, ahead=1) as cursor:
            take_up_to(cursor, 1)
            wait_until(lambda: subscription.has_delivered(2))

    def test_stops_a_subscription_that_is_made_after_it_was_left(self) -> None:
        subscription, is_left = FakeSubscription(), threading.Event()

        class SlowSource(FakeSource):
            def subscribe(self, after: int) -> FakeSubscription:
                is_left.wait(PATIENCE)
                return super().subscribe(after)

        with Feeds(SlowSource(subscription), SHORT_WAITS).after(Bookmark()) as cursor:
            assert cursor.next_batch(limit=1, timeout=0.0) == Batch([])
        is_left.set()

        wait_until(lambda: subscription.is_stopped)


class TestOneSubscription:
    def test_serves_all_who_begin_at_the_same_position(self) -> None:
        store = FakeStore(30)
        feeds = Feeds(store, SHORT_WAITS)
        with cursors(feeds, 0, 0, 0) as three:
            assert [take_up_to(each, 30) for each in three] == [numbers(0, 30)] * 3
            assert feeds.count == len(store.subscriptions) == 1
        assert store.subscriptions[0][1].is_stopped

    def test_serves_one_who_begins_where_the_others_have_been(self) -> None:
        store = FakeStore(30)
        with cursors(Feeds(store, SHORT_WAITS), 0, 5) as (first, second):
            take_up_to(first, 20)
            assert take_up_to(second, 30) == numbers(5, 30)
            assert len(store.subscriptions) == 1

    def test_serves_one_who_began_before_it_once_that_one_is_near(self) -> None:
        store = FakeStore(30)
        feeds = Feeds(store, SHORT_WAITS)
        with cursors(feeds, 10, 0) as (first, second):
            take_up_to(first, 30)
            assert take_up_to(second, 30) == numbers(0, 30)
            store.append(10)
            assert take_up_to(second, 40) == numbers(30, 40)
            assert feeds.count == 1
            assert [after for after, _ in store.subscriptions] == [10, 0]
            wait_until(lambda: store.subscriptions[1][1].is_stopped)
            assert take_up_to(first, 40) == numbers(30, 40)

    def test_goes_on_when_one_leaves_and_ends_with_the_last(self) -> None:
        store = FakeStore(50)
        feeds = Feeds(store, replace(SHORT_WAITS, ahead=5))
        with cursors(feeds, 0, 0) as (first, second):
            take_up_to(first, 5)
            take_up_to(second, 1)
            second.close()
            assert take_up_to(first, 50) == numbers(5, 50)
            assert not store.subscriptions[0][1].is_stopped
            first.close()
            assert feeds.count == 0
            assert store.subscriptions[0][1].is_stopped


class TestASlowOne:
    # However much the shared feed keeps.
    @pytest.mark.parametrize("keep", [10, 1_000])
    def test_holds_nobody_up_and_comes_back_when_it_is_near(self, keep: int) -> None:
        store = FakeStore(100)
        feeds = Feeds(store, replace(SHORT_WAITS, near=3, ahead=10, keep=keep))
        with cursors(feeds, 0, 0) as (slow, fast):
            taken = take_up_to(slow, 1)
            assert take_up_to(fast, 100) == numbers(0, 100)

            taken += take_up_to(slow, 50, limit=1)
            assert feeds.count == 2
            # What comes now does not wait for it.
            store.append(20)
            assert take_up_to(fast, 120) == numbers(100, 120)
            taken += take_up_to(slow, 51)
            assert feeds.count == 2

            taken += take_up_to(slow, 120)
            store.append()
            taken += take_up_to(slow, 121)
            assert taken == numbers(0, 121)
            assert feeds.count == 1
            assert [after for after, _ in store.subscriptions] == [0, 1]

    def test_gets_nothing_wrong_when_it_is_left_behind_just_as_it_takes(self) -> None:
        feeds = Feeds(FakeStore(100), replace(SHORT_WAITS, near=3, ahead=10, keep=10))
        with cursors(feeds, 0, 0) as (slow, fast):
            taken = take_up_to(slow, 1)
            shared = feeds.join(slow)
            take_up_to(fast, 22)
            assert shared.take(slow, limit=5, timeout=0.0) == Batch([])
            assert taken + take_up_to(slow, 100) == numbers(0, 100)

    def test_is_waited_for_where_nobody_else_waits(self) -> None:
        store = FakeStore(100)
        feeds = Feeds(store, replace(SHORT_WAITS, ahead=10))
        with cursors(feeds, 0) as (only,):
            for position in range(1, 101, 11):
                take_up_to(only, position)
                is_ahead = partial(store.subscriptions[0][1].has_delivered, min(position + 10, 100))
                wait_until(is_ahead)
            assert len(store.subscriptions) == 1


STEPS = st.lists(
    st.tuples(
        st.integers(0, 3),
        st.sampled_from(["take"] * 8 + ["leave", "lose"]),
        st.integers(1, 20),
    ),
    min_size=1,
    max_size=30,
)


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(
    count=st.integers(1, 60),
    begins=st.lists(st.integers(0, 59), min_size=1, max_size=4),
    ahead=st.integers(1, 8),
    keep=st.integers(1, 8),
    steps=STEPS,
)
def test_everyone_gets_each_event_once_in_order_at_any_pace_through_any_losses(
    count: int, begins: list[int], ahead: int, keep: int, steps: list[tuple[int, str, int]]
) -> None:
    store = FakeStore(count)
    tuning = replace(SHORT_WAITS, most_wait_seconds=0.002, near=3, ahead=ahead, keep=keep)
    feeds = Feeds(store, tuning)
    readers = [RestartingReader(feeds, min(begin, count)) for begin in begins]
    with no_thread_left():
        for who, what, limit in chain(steps, cycle([(0, "take", 5), (1, "take", 1)])):
            waiting = [each for each in readers if each.position < count]
            if not waiting:
                break
            reader = waiting[who % len(waiting)]
            if what == "take":
                reader.take(limit=limit)
            elif what == "leave":
                reader.begin_again()
            elif store.subscriptions:
                store.subscriptions[-1][1].deliver(Lost())
            assert all(size <= 2 * (ahead + keep) for size in feeds.window_sizes)
        for reader in readers:
            reader.cursor.close()
        assert feeds.count == 0
        assert all(each.is_stopped or each.has_ended for _, each in store.subscriptions)
    assert [each.taken for each in readers] == [numbers(each.begin, count) for each in readers]


class RestartingReader:
    """Cursors one after the other, each beginning at the position of the one before it."""

    def __init__(self, feeds: Feeds, position: int) -> None:
        self.begin = self.position = position
        self.taken: list[int] = []
        self._feeds = feeds
        self.cursor = FeedCursor(feeds, Bookmark(position))

    def take(self, *, limit: int) -> None:
        try:
            batch = self.cursor.next_batch(limit=limit, timeout=PATIENCE)
        except Lost:
            self.begin_again()
            return
        assert len(batch.events) <= limit
        self.taken += [each.position for each in batch.events]
        self.position = max(self.position, *self.taken, 0)

    def begin_again(self) -> None:
        self.cursor.close()
        self.cursor = FeedCursor(self._feeds, Bookmark(self.position))
