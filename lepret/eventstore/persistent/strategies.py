"""Consumer strategies: which subscriber is to have a message."""

import zlib
from collections import Counter, deque
from collections.abc import Callable, Iterator
from math import ceil
from typing import Protocol

from lepret.eventstore.persistent.message import Message
from lepret.eventstore.persistent.subscriber import Subscriber

BUCKETS = 1024
"""Messages are pinned by the bucket that their pin falls into."""


class Strategy(Protocol):
    """Knows the group's subscribers and chooses among them."""

    def join(self, subscriber: Subscriber) -> None:
        """Have it take part."""

    def leave(self, subscriber: Subscriber) -> None:
        """Have it no longer take part."""

    def choose(self, message: Message) -> Subscriber | None:
        """The one to hand the message to, which has a free slot; None to have it wait."""

    def __iter__(self) -> Iterator[Subscriber]:
        """The subscribers, in no particular order."""


class RoundRobin:
    """To each in turn; those without a free slot miss theirs."""

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
    """To one until it has no free slot, then to the next."""

    def choose(self, message: Message) -> Subscriber | None:
        for _ in range(len(self._subscribers)):
            if self._subscribers[0].free_slots:
                return self._subscribers[0]
            self._subscribers.rotate(-1)
        return None


class Pinned:
    """Messages with the same pin to the same subscriber, for as long as it stays.

    A message whose subscriber has no free slot waits for it. A newcomer takes over a fair
    share of the buckets, first those without a message on its way.
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
        """The buckets that owners have beyond their share."""
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
"""By the names that clients use. The last two differ in what messages are pinned by."""

PINNED_BY_CORRELATION = "PinnedByCorrelation"


def _bucket(message: Message) -> int:
    return zlib.crc32(message.pin.encode()) % BUCKETS
