"""A subscriber as the core sees it: so many slots, and what is in them."""

from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass

from lepret.eventstore.persistent.message import Message

ANSWER_TIMES = 1000
"""How many answers are remembered to tell how long they take."""

OUTBOX_BYTES = 1024 * 1024
"""Events that wait to be sent to one subscriber stay in memory up to this size."""


@dataclass(slots=True, eq=False)
class Delivery:
    """A message that was handed to a subscriber."""

    message: Message
    subscriber: "Subscriber"
    handed: float
    """When that was, as the group's clock counts."""
    expires: float
    """When it is taken back unless it was answered."""


class Subscriber:
    """Holds as many unanswered messages as it has slots."""

    def __init__(self, slots: int, wake: Callable[[], None]) -> None:
        """``wake`` is called when there is something to send."""
        self.slots = slots
        self.in_flight: set[Delivery] = set()
        self.received = 0
        """How many messages it was ever handed."""
        self.answer_times: deque[float] = deque(maxlen=ANSWER_TIMES)
        """Seconds that it took for each of its last answers."""
        self._unsent: OrderedDict[Delivery, None] = OrderedDict()
        self._unsent_bytes = 0
        self._wake = wake

    @property
    def free_slots(self) -> int:
        """How many more messages it may be handed."""
        return self.slots - len(self.in_flight)

    def hand(self, delivery: Delivery) -> None:
        """Fill a slot."""
        if self._unsent_bytes >= OUTBOX_BYTES:
            delivery.message.response = None
        self.in_flight.add(delivery)
        self.received += 1
        self._unsent[delivery] = None
        self._unsent_bytes += delivery.message.size
        self._wake()

    def answered(self, delivery: Delivery, now: float) -> None:
        """It said what became of a message."""
        self.answer_times.append(now - delivery.handed)

    def release(self, delivery: Delivery) -> None:
        """Free the slot; what was not sent yet will not be."""
        self.in_flight.discard(delivery)
        if delivery in self._unsent:
            del self._unsent[delivery]
            self._unsent_bytes -= delivery.message.size

    def next_unsent(self) -> tuple[Delivery, bytes | None] | None:
        """The next delivery to send, with its event if that is in memory; None when all is sent."""
        if not self._unsent:
            return None
        delivery, _ = self._unsent.popitem(last=False)
        self._unsent_bytes -= delivery.message.size
        response, delivery.message.response = delivery.message.response, None
        return delivery, response
