"""Reads the events of the store once for all projections that are near each other.

A `Feed` is one catch-up subscription. It is read ahead in a thread of its own, into a window of the
latest events. Each projection has a `FeedCursor`, and takes events from the window at its own pace.
One that is too slow for the others is left behind: it gets a feed of its own, and returns to the
shared one when it is near again.
"""

from __future__ import annotations

import math
import threading
import time
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Protocol

from esdbclient import EventStoreDBClient, RecordedEvent
from esdbclient.exceptions import ConsumerTooSlow, DeadlineExceeded, EventStoreDBClientException

from readmodels.live import slow_reads
from readmodels.projector import bookmarks
from readmodels.projector.bookmarks import Bookmark, StoreReplaced
from readmodels.projector.received import Received
from readmodels.projector.tuning import DEFAULT, Tuning


class CatchUpSubscription(Protocol):
    """What feeds use of esdbclient's catch-up subscriptions."""

    def __iter__(self) -> Iterator[RecordedEvent]: ...

    def stop(self) -> None: ...


class SubscriptionEnded(Exception):
    """The server ended the subscription, which esdbclient does not resume by itself."""


class SubscriptionStalled(Exception):
    """The store has events that the subscription should have delivered by now."""


Wakes = Callable[[Received], bool]

EVENT_STORE_AWAY: Final = (EventStoreDBClientException, SubscriptionEnded, SubscriptionStalled)


@dataclass(frozen=True)
class Batch:
    """Events that arrived, oldest first; `caught_up` if history ended with them or before them."""

    events: list[Received]
    caught_up: bool = False


class EventSource(Protocol):
    """Where feeds read from."""

    def subscribe(self, after: int) -> CatchUpSubscription:
        """All events after a position, then new ones, with a mark between the two.

        Checkpoints say how far the store has been searched. System events are left out.
        """

    def has_event_after(self, position: int) -> bool:
        """Whether there is an event after a position, other than system events."""

    def last_position(self) -> int:
        """The commit position of the last event; 0 if there is none.

        Of a system event, if there are so many at the end that no other is found in time.
        """

    def check(self, bookmark: Bookmark) -> None:
        """Raise `StoreReplaced` if this is not the store in which the bookmark was set."""


class EventStoreSource:
    """Reads from the event store, with the client that `connect` returns."""

    def __init__(self, connect: Callable[[], EventStoreDBClient], tuning: Tuning = DEFAULT) -> None:
        self._connect = connect
        self._probe_timeout = tuning.probe_timeout_seconds

    def subscribe(self, after: int) -> CatchUpSubscription:
        # Subscribing has no timeout, so a store that hangs must be noticed before.
        self._last_of_any_kind()
        # The client's default filter leaves system events out.
        return self._connect().subscribe_to_all(
            commit_position=after or None, include_caught_up=True, include_checkpoints=True
        )

    def has_event_after(self, position: int) -> bool:
        if self._last_of_any_kind() <= position:
            return False
        # A read starts with the event at the position itself.
        events = self._connect().read_all(
            commit_position=position or None, limit=2, timeout=self._probe_timeout
        )
        return any((event.commit_position or 0) > position for event in events)

    def last_position(self) -> int:
        try:
            return self._connect().get_commit_position(timeout=self._probe_timeout)
        except DeadlineExceeded:
            # The store may have to search backwards through millions of system events.
            return self._last_of_any_kind()

    def _last_of_any_kind(self) -> int:
        # The store need not search for it.
        return self._connect().get_commit_position(filter_exclude=(), timeout=self._probe_timeout)

    def check(self, bookmark: Bookmark) -> None:
        bookmarks.check(bookmark, self._connect(), timeout=self._probe_timeout)


class Feeds:
    """The feeds of a process: as few as the positions of its projections allow."""

    def __init__(self, source: EventSource, tuning: Tuning = DEFAULT) -> None:
        self.source = source
        self._tuning = tuning
        self._lock = threading.Lock()
        self._feeds: list[Feed] = []

    @contextmanager
    def after(self, bookmark: Bookmark) -> Iterator[FeedCursor]:
        """A cursor that begins with the event after a bookmark."""
        cursor = FeedCursor(self, bookmark)
        try:
            yield cursor
        finally:
            cursor.close()

    @property
    def count(self) -> int:
        """How many subscriptions there are."""
        return len(self._feeds)

    @property
    def window_sizes(self) -> list[int]:
        """How many events each feed holds in memory."""
        return [feed.window_size for feed in self._feeds]

    def join(self, cursor: FeedCursor) -> Feed:
        """Put a cursor on the oldest feed that has the next event for it, or else on a new one."""
        with self._lock:
            for feed in self._feeds:
                if feed.admit(cursor, only_near=cursor.was_left_behind):
                    return feed
            feed = Feed(self.source, cursor.bookmark, self._tuning)
            is_admitted = feed.admit(cursor)
            assert is_admitted, "a feed begins where its first cursor is"
            self._feeds.append(feed)
            feed.start()
            return feed

    def leave(self, feed: Feed, cursor: FeedCursor) -> None:
        """Take a cursor off its feed. A feed ends with its last cursor."""
        with self._lock:
            if feed.dismiss(cursor) and feed in self._feeds:
                self._feeds.remove(feed)
                feed.close()

    def older_for(self, cursor: FeedCursor, feed: Feed) -> Feed | None:
        """Put a cursor on an older feed if it is near its end; returns that feed, if any."""
        with self._lock:
            if feed not in self._feeds:
                return None
            older = self._feeds[: self._feeds.index(feed)]
            return next((each for each in older if each.admit(cursor, only_near=True)), None)


class FeedCursor:
    """One projection's position in a feed. For one thread only."""

    def __init__(self, feeds: Feeds, bookmark: Bookmark) -> None:
        self._feeds = feeds
        self._feed: Feed | None = None
        self._is_sure_of_the_store = False
        self.bookmark = bookmark
        """The last event that was taken."""
        self.is_caught_up = False
        self.was_left_behind = False
        self.index = 0
        """The next event's number, as its feed counts them."""

    def next_batch(self, *, limit: int, timeout: float, wakes: Wakes | None = None) -> Batch:
        """What has arrived, up to `limit` events; waits up to `timeout` seconds for the first.

        With `wakes` it waits for `limit` events, or for one of which `wakes` says so, which must
        not take long. While history is read, it also waits a moment for the batch to become full.

        Raises:
            SubscriptionEnded, SubscriptionStalled, EventStoreDBClientException: after all events
                that arrived before were returned. The next call subscribes anew.
            StoreReplaced: the subscription would not begin after the event that was taken last.
        """
        batch = self._nearest_feed().take(self, limit=limit, timeout=timeout, wakes=wakes)
        if not self._is_sure_of_the_store and (batch.events or batch.caught_up):
            # Again, since the store may have been replaced just before the subscription began.
            self._feeds.source.check(self.bookmark)
            self._is_sure_of_the_store = True
        if batch.events:
            self.bookmark = Bookmark.at(batch.events[-1].recorded)
        self.is_caught_up |= batch.caught_up
        return batch

    @property
    def position(self) -> int:
        """The commit position of the last event that was taken."""
        return self.bookmark.position

    def close(self) -> None:
        """Leave the feed."""
        if self._feed is not None:
            self._feeds.leave(self._feed, self)
            self._feed = None

    def _nearest_feed(self) -> Feed:
        feed = self._feed
        if feed is None or not feed.has(self):
            self.close()
            # Before subscribing, which EventStoreDB refuses where no event begins.
            self._feeds.source.check(self.bookmark)
            self._is_sure_of_the_store = False
            self._feed = self._feeds.join(self)
        elif self._feeds.count > 1 and (older := self._feeds.older_for(self, feed)):
            self._feeds.leave(feed, self)
            self._feed = older
        assert self._feed is not None
        return self._feed


@dataclass(eq=False)
class _Wait:
    """A cursor that waits until the window ends at an index, or an event `wakes` it."""

    until: int
    wakes: Wakes | None
    condition: threading.Condition
    is_over: bool = False

    def is_ended_by(self, received: Received, end: int) -> bool:
        """Whether it need wait no longer, with this event at the end of the window."""
        return end >= self.until or (self.wakes is not None and self.wakes(received))


class Feed:
    """One subscription, from a position on, and a window of the latest events from it."""

    def __init__(self, source: EventSource, after: Bookmark, tuning: Tuning) -> None:
        self._source = source
        self._tuning = tuning
        self._thread = threading.Thread(target=self._read, name="feed", daemon=True)
        self._subscription: CatchUpSubscription | None = None
        self._is_closed = threading.Event()
        # All that follows changes only under this lock.
        self._lock = threading.RLock()
        self._room = threading.Condition(self._lock)
        self._cursors: set[FeedCursor] = set()
        # Each has a condition of its own: to wake a thread for nothing costs as much as to commit.
        self._waits: list[_Wait] = []
        self._before = after  # The event before the window.
        # By the store: whatever it has up to there was delivered.
        self._searched = after.position
        self._window: list[Received] = []
        # For each event in the window, the bytes of all events before it; and of all there were.
        self._bytes_before: list[int] = []
        self._bytes = 0
        self._first = 0  # The index of the first event in the window.
        self._end = 0  # The index of the next event to come.
        self._history_ends_at = math.inf
        self._failure: Exception | None = None
        self._heard_at = time.monotonic()
        self._room_until = 0.0  # Up to this index the reader need not check for room,
        self._room_until_bytes = 0  # as long as there were fewer bytes than this.
        self._is_full = False  # The reader waits for room.
        self._wake_at = math.inf  # A cursor waits for the event before this index,
        self._are_choosy = False  # or for an event that it chooses.

    def start(self) -> None:
        """Subscribe, in the feed's own thread, since esdbclient does so without a timeout."""
        self._thread.start()

    def close(self) -> None:
        """End the subscription."""
        self._is_closed.set()
        with self._lock:
            self._room.notify()
            self._look_again()
        if self._subscription is not None:
            self._subscription.stop()

    # For cursors -------------------------------------------------------------------------

    @property
    def window_size(self) -> int:
        """How many events are held in memory."""
        return len(self._window)

    def admit(self, cursor: FeedCursor, *, only_near: bool = False) -> bool:
        """Put a cursor on this feed, if the next event for it is in the window or comes next.

        With `only_near`, not if it is far behind the feed's end: it would be left behind again.
        """
        with self._lock:
            if self._failure or not self._holds(cursor.position):
                return False
            place = bisect_right(self._window, cursor.position, key=lambda each: each.position)
            index = self._first + place
            if only_near and self._end - index > self._tuning.near:
                return False
            cursor.index = index
            cursor.was_left_behind = False
            self._cursors.add(cursor)
            return True

    def _holds(self, position: int) -> bool:
        return self._before.position <= position <= self._last().position

    def _last(self) -> Bookmark:
        return Bookmark.at(self._window[-1].recorded) if self._window else self._before

    def dismiss(self, cursor: FeedCursor) -> bool:
        """Take a cursor off; returns whether it was the last."""
        with self._lock:
            self._cursors.discard(cursor)
            self._room.notify()
            return not self._cursors

    def has(self, cursor: FeedCursor) -> bool:
        """Whether the cursor is still on this feed, and was not left behind."""
        with self._lock:
            return cursor in self._cursors

    def take(
        self, cursor: FeedCursor, *, limit: int, timeout: float, wakes: Wakes | None = None
    ) -> Batch:
        """The next events for a cursor: see `FeedCursor.next_batch`."""
        with self._lock:
            if not cursor.is_caught_up:
                self._wait_for(cursor, limit, min(self._tuning.linger_seconds, timeout))
            self._wait_for(cursor, limit if wakes else 1, timeout, wakes)
            if cursor not in self._cursors:
                return Batch([])  # Left behind: its next event may have left the window.
            events = self._next_for(cursor, limit)
            cursor.index += len(events)
            self._let_the_reader_go_on()
            caught_up = not cursor.is_caught_up and cursor.index >= self._history_ends_at
            if events or caught_up:
                return Batch(events, caught_up)
            if self._failure is not None:
                self._cursors.discard(cursor)
                raise self._failure
        self._probe_if_silent(cursor)
        return Batch([])

    def _next_for(self, cursor: FeedCursor, limit: int) -> list[Received]:
        begin = cursor.index - self._first
        most_bytes = self._bytes_up_to(cursor.index) + self._tuning.batch_bytes
        end = bisect_left(self._bytes_before, most_bytes, begin)
        return self._window[begin : min(end, begin + limit)]

    def _bytes_up_to(self, index: int) -> int:
        """How many bytes there were before the event with this index."""
        return self._bytes if index == self._end else self._bytes_before[index - self._first]

    def _wait_for(
        self, cursor: FeedCursor, count: int, timeout: float, wakes: Wakes | None = None
    ) -> None:
        if self._has(cursor, count) or (wakes and any(map(wakes, self._after(cursor)))):
            return
        wait = _Wait(cursor.index + count, wakes, threading.Condition(self._lock))
        self._waits.append(wait)
        self._note_waits()
        try:
            wait.condition.wait_for(lambda: wait.is_over or self._has(cursor, count), timeout)
        finally:
            self._waits.remove(wait)
            self._note_waits()

    def _after(self, cursor: FeedCursor) -> list[Received]:
        return self._window[cursor.index - self._first :]

    def _has(self, cursor: FeedCursor, count: int) -> bool:
        if self._end >= cursor.index + count or self._failure or cursor not in self._cursors:
            return True
        if not cursor.is_caught_up and self._end >= self._history_ends_at:
            return True
        # If it is full, more would come only after these are taken.
        return self._is_full and self._end > cursor.index

    def _note_waits(self) -> None:
        going_on = [wait for wait in self._waits if not wait.is_over]
        self._wake_at = min((wait.until for wait in going_on), default=math.inf)
        self._are_choosy = any(wait.wakes for wait in going_on)

    def _look_again(self) -> None:
        """Have each cursor that waits look whether it still has to."""
        for wait in self._waits:
            wait.condition.notify()

    def _let_the_reader_go_on(self) -> None:
        self._shrink_window()
        if self._is_full:
            self._room.notify()

    def _shrink_window(self) -> None:
        slowest = self._slowest_index()
        surplus = slowest - self._tuning.keep - self._first
        bytes_to_keep_from = self._bytes_up_to(slowest) - self._tuning.keep_bytes
        surplus_bytes = bytes_to_keep_from - self._bytes_up_to(self._first)
        # Many at once, since the rest of the window has to move.
        if surplus < self._tuning.keep and surplus_bytes < self._tuning.keep_bytes:
            return
        surplus = max(surplus, bisect_left(self._bytes_before, bytes_to_keep_from))
        surplus = min(surplus, slowest - self._first)
        self._before = Bookmark.at(self._window[surplus - 1].recorded)
        del self._window[:surplus]
        del self._bytes_before[:surplus]
        self._first += surplus

    def _slowest_index(self) -> int:
        return min((cursor.index for cursor in self._cursors), default=self._end)

    def _probe_if_silent(self, cursor: FeedCursor) -> None:
        """After a long silence, ask the store whether it has events that did not arrive.

        A connection that breaks without notice leaves a subscription waiting for ever. Meanwhile
        the store may have been replaced.
        """
        with self._lock:
            if time.monotonic() - self._heard_at < self._tuning.probe_after_idle_seconds:
                return
            self._heard_at = time.monotonic()
            end = self._end
            last, searched = self._last(), self._searched
        try:
            self._source.check(last)
            if not self._source.has_event_after(searched):
                return
        except (*EVENT_STORE_AWAY, StoreReplaced) as failure:
            # For all cursors on this feed.
            self._fail(failure)
            return
        with self._lock:
            # The event may be on its way.
            self._wait_for(cursor, 1, self._tuning.grace_seconds)
            if self._end > end or self._failure or cursor not in self._cursors:
                return
        self._fail(SubscriptionStalled())

    # In the reader's thread ----------------------------------------------------------------

    def _read(self) -> None:
        try:
            while not self._is_closed.is_set() and self._is_dropped():
                slow_reads.note()
        except Exception as failure:  # noqa: BLE001 (raised to those who ask for batches)
            self._fail(failure)
        finally:
            if self._is_closed.is_set() and self._subscription is not None:
                self._subscription.stop()

    def _is_dropped(self) -> bool:
        """Read on until the end; returns whether the store dropped the subscription as too slow.

        That is no loss: what was not read in time is read again, at once.
        """
        self._subscription = self._source.subscribe(self._last().position)
        heard_at = self._heard_at
        try:
            self._read_all(self._subscription)
        except ConsumerTooSlow:
            if self._heard_at == heard_at:
                raise  # Nothing has arrived.
            return True
        return False

    def _read_all(self, subscription: CatchUpSubscription) -> None:
        if self._is_closed.is_set():
            return  # Closed while it was subscribing: `close` had no subscription to stop yet.
        for recorded in subscription:
            if recorded.is_caught_up:
                self._end_history()
            elif recorded.is_checkpoint:
                self._note_searched(recorded.commit_position or 0)
            else:
                self._append(Received(recorded))
            if self._is_closed.is_set():
                return
        raise SubscriptionEnded

    def _append(self, received: Received) -> None:
        with self._lock:
            if self._end >= self._room_until or self._bytes >= self._room_until_bytes:
                self._wait_for_room()
            self._window.append(received)
            self._bytes_before.append(self._bytes)
            self._bytes += received.size
            self._end += 1
            self._searched = received.position
            self._heard_at = time.monotonic()
            if self._are_choosy or self._end >= self._wake_at:
                self._wake(received)

    def _wake(self, received: Received) -> None:
        for wait in self._waits:
            if not wait.is_over and wait.is_ended_by(received, self._end):
                wait.is_over = True
                wait.condition.notify()
        self._note_waits()

    def _note_searched(self, position: int) -> None:
        with self._lock:
            self._searched = max(self._searched, position)
            self._heard_at = time.monotonic()

    def _end_history(self) -> None:
        with self._lock:
            self._history_ends_at = self._end
            self._heard_at = time.monotonic()
            self._look_again()

    def _wait_for_room(self) -> None:
        while not self._is_closed.is_set() and not self._has_room():
            self._is_full = True
            self._look_again()
            if not self._room.wait_for(self._may_go_on, self._tuning.most_wait_seconds):
                self._leave_the_slowest_behind()
        self._is_full = False

    def _may_go_on(self) -> bool:
        return self._is_closed.is_set() or self._has_room()

    def _has_room(self) -> bool:
        slowest = self._slowest_index()
        self._room_until = slowest + self._tuning.ahead
        self._room_until_bytes = self._bytes_up_to(slowest) + self._tuning.ahead_bytes
        return self._end < self._room_until and self._bytes < self._room_until_bytes

    def _leave_the_slowest_behind(self) -> None:
        if all(cursor.index < self._end for cursor in self._cursors):
            return  # No cursor waits for more.
        slowest = min(self._cursors, key=lambda cursor: cursor.index)
        slowest.was_left_behind = True
        self._cursors.discard(slowest)
        self._look_again()

    def _fail(self, failure: Exception) -> None:
        with self._lock:
            self._failure = failure
            self._look_again()
