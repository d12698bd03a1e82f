"""Consumer strategies: which subscriber gets a message."""

import zlib
from collections import Counter, deque
from collections.abc import Callable, Iterator
from math import ceil
from typing import Protocol

from lepret.eventstore.persistent.message import Message
from lepret.eventstore.persistent.subscriber import Subscriber

BUCKETS = 1024
"""A message's pin is hashed into one of these buckets, and each has one subscriber."""


class Strategy(Protocol):
    """Keeps a group's subscribers, and chooses one for each message."""

    def join(self, subscriber: Subscriber) -> None:
        """Add a subscriber."""

    def leave(self, subscriber: Subscriber) -> None:
        """Remove a subscriber."""

    def choose(self, message: Message) -> Subscriber | None:
        """A subscriber with a free slot; None if the message must wait."""

    def __iter__(self) -> Iterator[Subscriber]:
        """The subscribers, in no particular order."""


class RoundRobin:
    """Chooses each subscriber in turn, but skips those without a free slot."""

    def __init__(self) -> None:
        self._subscribers: deque[Subscriber] = deque()

    def __iter__(self) -> Iterator[Subscriber]:
        return iter(self._subscribers)

    def join(self, subscriber: Subscriber) -> None:
        self._subscribers.append(subscriber)

    def leave(self, subscriber: Subscriber) -> None:
        self._subscribers.remove(subscriber)

    def choose(self, message: Message) -> Subscriber | None:
        for _ in range(len(self._subscribers)):
            subscriber = self._subscribers[0]
            self._subscribers.rotate(-1)
            if subscriber.free_slots:
                return subscriber
        return None


class DispatchToSingle(RoundRobin):
    """Chooses one subscriber until it has no free slot, then the next."""

    def choose(self, message: Message) -> Subscriber | None:
        for _ in range(len(self._subscribers)):
            if self._subscribers[0].free_slots:
                return self._subscribers[0]
            self._subscribers.rotate(-1)
        return None


class Pinned:
    """Chooses the same subscriber for messages with the same pin, while it is connected.

    A message whose subscriber has no free slot waits. A new subscriber takes over a fair share
    of the buckets, first those without a message in flight.
    """

    def __init__(self) -> None:
        self._subscribers: list[Subscriber] = []
        self._owners: dict[int, Subscriber] = {}

    def __iter__(self) -> Iterator[Subscriber]:
        return iter(self._subscribers)

    def join(self, subscriber: Subscriber) -> None:
        self._subscribers.append(subscriber)
        share = ceil(len(self._owners) / len(self._subscribers))
        for bucket in self._surplus(share):
            self._owners[bucket] = subscriber

    def leave(self, subscriber: Subscriber) -> None:
        self._subscribers.remove(subscriber)
        self._owners = {
            bucket: owner for bucket, owner in self._owners.items() if owner is not subscriber
        }

    def choose(self, message: Message) -> Subscriber | None:
        bucket = _bucket(message)
        owner = self._owners.get(bucket)
        if owner is None:
            owner = self._with_fewest_buckets()
            if owner is None:
                return None
            self._owners[bucket] = owner
        return owner if owner.free_slots else None

    def _with_fewest_buckets(self) -> Subscriber | None:
        owned = Counter(self._owners.values())
        return min(self._subscribers, key=lambda subscriber: owned[subscriber], default=None)

    def _surplus(self, share: int) -> list[int]:
        """The buckets above each subscriber's share, first those without a message in flight."""
        surplus: list[int] = []
        for subscriber in self._subscribers:
            busy = {_bucket(delivery.message) for delivery in subscriber.in_flight}
            buckets = [bucket for bucket, owner in self._owners.items() if owner is subscriber]
            buckets.sort(key=busy.__contains__)
            surplus += buckets[: max(0, len(buckets) - share)]
        return surplus


STRATEGIES: dict[str, Callable[[], Strategy]] = {
    "DispatchToSingle": DispatchToSingle,
    "RoundRobin": RoundRobin,
    "Pinned": Pinned,
    "PinnedByCorrelation": Pinned,
}
"""By the names that clients use. The last two differ in the pins that messages get."""

PINNED_BY_CORRELATION = "PinnedByCorrelation"


def _bucket(message: Message) -> int:
    return zlib.crc32(message.pin.encode(errors="surrogatepass")) % BUCKETS
