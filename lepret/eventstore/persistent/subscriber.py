"""A subscriber: its slots, and the messages in them."""

from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass

from lepret.eventstore.persistent.message import Message

ANSWER_TIMES = 1000
"""The number of answer times that are kept for statistics."""

OUTBOX_BYTES = 64 * 1024 * 1024
"""Bytes of unsent events that stay in memory for all subscribers; others are read again."""


@dataclass(slots=True, eq=False)
class Delivery:
    """A message in flight: queued for a subscriber, or sent and not answered."""

    message: Message
    subscriber: "Subscriber"
    handed: float
    """When the subscriber got it, by the group's clock."""
    expires: float
    """When it times out."""


@dataclass(slots=True)
class Outbox:
    """Counts the bytes of unsent events in memory."""

    limit: int = OUTBOX_BYTES
    size: int = 0


class Subscriber:
    """Has a slot for each unanswered message."""

    def __init__(self, slots: int, wake: Callable[[], None], outbox: Outbox | None = None) -> None:
        """``wake`` is called when there is a message to send; subscribers share an outbox."""
        self.slots = slots
        self.in_flight: set[Delivery] = set()
        self.received = 0
        """The number of messages so far."""
        self.answer_times: deque[float] = deque(maxlen=ANSWER_TIMES)
        """Seconds until each of its last answers."""
        self._unsent: OrderedDict[Delivery, None] = OrderedDict()
        self._outbox = outbox or Outbox()
        self._wake = wake

    @property
    def free_slots(self) -> int:
        """How many more messages it can take."""
        return self.slots - len(self.in_flight)

    def hand(self, delivery: Delivery) -> None:
        """Put a message into a slot and queue it for sending."""
        if self._outbox.size >= self._outbox.limit:
            delivery.message.response = None
        self.in_flight.add(delivery)
        self.received += 1
        self._unsent[delivery] = None
        self._outbox.size += delivery.message.size
        self._wake()

    def answered(self, delivery: Delivery, now: float) -> None:
        """Record how long an answer took."""
        self.answer_times.append(now - delivery.handed)

    def release(self, delivery: Delivery) -> None:
        """Free a slot; if its message is unsent, it will not be sent."""
        self.in_flight.discard(delivery)
        if delivery in self._unsent:
            del self._unsent[delivery]
            self._outbox.size -= delivery.message.size

    def next_unsent(self) -> tuple[Delivery, bytes | None] | None:
        """The next delivery to send, with its event if in memory; None if all are sent."""
        if not self._unsent:
            return None
        delivery, _ = self._unsent.popitem(last=False)
        self._outbox.size -= delivery.message.size
        response, delivery.message.response = delivery.message.response, None
        return delivery, response
