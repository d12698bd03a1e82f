"""Reads a catch-up subscription ahead, so that a batch can be whatever has already arrived."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Protocol, Self

from esdbclient import RecordedEvent


class Subscription(Protocol):
    """What is needed of esdbclient's catch-up subscriptions."""

    def __iter__(self) -> Iterator[RecordedEvent]: ...

    def stop(self) -> None: ...


class SubscriptionEnded(Exception):
    """The server ended the subscription. esdbclient does not resume one by itself."""


@dataclass(frozen=True)
class Batch:
    """Events that arrived, oldest first; `caught_up` where history ended after them."""

    events: list[RecordedEvent]
    caught_up: bool = False


_POLL_SECONDS: Final = 0.2


class Feed:
    """A subscription that is read in a thread of its own, at most `ahead` events ahead.

    Subscribing happens in that thread, too, since esdbclient waits for the server's confirmation
    without a bound.
    """

    def __init__(self, subscribe: Callable[[], Subscription], *, ahead: int) -> None:
        self._subscribe = subscribe
        self._arrived: queue.Queue[RecordedEvent | Exception] = queue.Queue(maxsize=ahead)
        self._subscription: Subscription | None = None
        self._is_closed = threading.Event()
        self._thread = threading.Thread(target=self._read, name="feed", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_closed.set()
        if self._subscription is not None:
            self._subscription.stop()

    def next_batch(self, *, limit: int, timeout: float) -> Batch:
        """What has arrived, up to `limit` events; waits up to `timeout` seconds for the first.

        Raises:
            SubscriptionEnded: and whatever esdbclient raised, once all before it was handed out.
        """
        events: list[RecordedEvent] = []
        try:
            arrived = self._arrived.get(timeout=timeout)
            while True:
                if isinstance(arrived, Exception):
                    return self._before(arrived, events)
                if arrived.is_caught_up:
                    return Batch(events, caught_up=True)
                events.append(arrived)
                if len(events) == limit:
                    break
                arrived = self._arrived.get_nowait()
        except queue.Empty:
            pass
        return Batch(events)

    def _before(self, failure: Exception, events: list[RecordedEvent]) -> Batch:
        if not events:
            raise failure
        # Nothing is read after a failure, so there is room to put it back for the next call.
        self._arrived.put_nowait(failure)
        return Batch(events)

    def _read(self) -> None:
        try:
            self._subscription = self._subscribe()
            self._hand_over_all(self._subscription)
        except Exception as failure:  # noqa: BLE001 (handed over to the thread that asks for batches)
            self._hand_over(failure)
        finally:
            if self._is_closed.is_set() and self._subscription is not None:
                self._subscription.stop()

    def _hand_over_all(self, subscription: Subscription) -> None:
        if self._is_closed.is_set():
            return  # Left while subscribing; whoever left had no subscription to stop yet.
        for event in subscription:
            self._hand_over(event)
            if self._is_closed.is_set():
                return
        self._hand_over(SubscriptionEnded())

    def _hand_over(self, arrived: RecordedEvent | Exception) -> None:
        while not self._is_closed.is_set():
            with contextlib.suppress(queue.Full):
                self._arrived.put(arrived, timeout=_POLL_SECONDS)
                return
