"""The state of a group: waiting messages, messages in flight, progress.

Pure: no clock, no log, no network. Times are passed in, messages come in through `read` and
`replay` and go out to subscribers; a function is called with each message to park.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from uuid import UUID

from lepret.eventstore.persistent.message import Message
from lepret.eventstore.persistent.settings import GroupSettings
from lepret.eventstore.persistent.strategies import STRATEGIES
from lepret.eventstore.persistent.subscriber import Delivery, Subscriber
from lepret.eventstore.persistent.waiting_messages import WaitingMessages

BUFFER_BYTES = 1024 * 1024
"""A group stops reading while this many bytes of events wait for a subscriber."""

READ_AT_ONCE = 32
"""How many events a group takes at a time."""

_DEFAULT_READ_BATCH = 20

Park = Callable[[Message, str], None]
"""Parks a message for a reason, and calls `parked` or `not_parked` afterwards."""


class Nack(Enum):
    """What to do with a message that a subscriber could not handle."""

    RETRY = "retry"
    PARK = "park"
    SKIP = "skip"


class Group:
    """Delivers each message to one subscriber at a time, until it is acked, skipped or parked."""

    def __init__(self, settings: GroupSettings, done_to: int, park: Park) -> None:
        """``done_to`` is the number after which delivery starts."""
        self.settings = settings
        self.waiting = WaitingMessages()
        self.handed_out = 0
        """The number of deliveries so far."""
        self.in_flight: dict[UUID, Delivery] = {}
        self._park_message = park
        # The numbers of messages that are not done, in the order in which they are read: the first
        # is the lowest. An `OrderedDict` finds it at once, where a dict passes those taken out.
        self._unfinished: OrderedDict[int, None] = OrderedDict()
        self._unfinished_replays: OrderedDict[int, None] = OrderedDict()
        self._strategy = STRATEGIES[settings.named_consumer_strategy]()
        self._read_to = done_to
        self._checkpoint = done_to
        self._checkpoint_time: float | None = None
        self._replayed_to = 0

    # Subscribers --------------------------------------------------------------------

    @property
    def subscribers(self) -> list[Subscriber]:
        """The connected subscribers."""
        return list(self._strategy)

    @property
    def is_full(self) -> bool:
        """Whether the maximum number of subscribers is connected."""
        maximum = self.settings.max_subscriber_count
        return maximum != 0 and len(self.subscribers) >= maximum

    def connect(self, subscriber: Subscriber, now: float) -> None:
        """Add a subscriber."""
        self._strategy.join(subscriber)
        self._hand_out(now)

    def disconnect(self, subscriber: Subscriber, now: float) -> None:
        """Remove a subscriber; others get its unanswered messages."""
        self._strategy.leave(subscriber)
        for delivery in list(subscriber.in_flight):
            self._retry(self._take_back(delivery))
        self._hand_out(now)

    # Reading ------------------------------------------------------------------------

    @property
    def read_at_once(self) -> int:
        """The maximum number of messages in one `read` or `replay`."""
        settings = self.settings
        batch = settings.read_batch_size or _DEFAULT_READ_BATCH
        return max(1, min(READ_AT_ONCE, batch, settings.history_buffer_size))

    @property
    def wants_more(self) -> bool:
        """Whether there is room for `read_at_once` messages."""
        room = self.settings.history_buffer_size - len(self.waiting)
        return room >= self.read_at_once and self.waiting.size < BUFFER_BYTES

    def read(self, messages: Iterable[Message], to: int, now: float) -> None:
        """Take the next messages; ``to`` is the last number searched for them."""
        for message in messages:
            self._unfinished[message.number] = None
            self.waiting.add(message)
        self._read_to = to
        self._hand_out(now)

    def replay(self, messages: Iterable[Message], to: int, now: float) -> None:
        """Take parked messages again, all before number ``to`` in the parked stream."""
        for message in messages:
            self._unfinished_replays[message.number] = None
            self.waiting.add(message)
        self._replayed_to = to
        self._hand_out(now)

    # Answers ------------------------------------------------------------------------

    def ack(self, ids: Iterable[UUID], now: float) -> None:
        """These messages are done. Ids that are not in flight are ignored."""
        for delivery in self._named(ids):
            delivery.subscriber.answered(delivery, now)
            self._finish(self._take_back(delivery))
        self._hand_out(now)

    def nack(self, ids: Iterable[UUID], nack: Nack, reason: str, now: float) -> None:
        """A subscriber could not handle these. Ids that are not in flight are ignored."""
        for delivery in self._named(ids):
            delivery.subscriber.answered(delivery, now)
            message = self._take_back(delivery)
            match nack:
                case Nack.RETRY:
                    self._retry_or_park(message)
                case Nack.PARK:
                    self._park_message(message, f"Client explicitly NAK'ed message.\n{reason}")
                case Nack.SKIP:
                    self._finish(message)
        self._hand_out(now)

    def tick(self, now: float) -> None:
        """Retry or park the messages that have timed out."""
        expired = [d for d in self.in_flight.values() if d.expires <= now]
        for delivery in expired:
            self._retry_or_park(self._take_back(delivery))
        self._hand_out(now)

    def parked(self, message: Message) -> None:
        """The message was parked."""
        self._finish(message)

    def not_parked(self, message: Message, now: float) -> None:
        """The message could not be parked: retry it."""
        self._retry(message)
        self._hand_out(now)

    # Progress -----------------------------------------------------------------------

    @property
    def read_to(self) -> int:
        """The last number that was searched for messages."""
        return self._read_to

    @property
    def done_to(self) -> int:
        """The last number up to which all messages are done."""
        first = next(iter(self._unfinished), None)
        return self._read_to if first is None else first - 1

    @property
    def replayed_to(self) -> int:
        """The first number in the parked stream that must be kept."""
        return next(iter(self._unfinished_replays), self._replayed_to)

    def due_checkpoint(self, now: float, *, timed: bool) -> int | None:
        """The checkpoint to write; None if none is due.

        The minimum count is checked only if ``timed``, that is, once a second.
        """
        done_to = self.done_to
        progress = done_to - self._checkpoint
        if progress <= 0:
            return None
        if progress >= self.settings.max_check_point_count:
            return done_to
        if timed and progress >= self.settings.min_check_point_count and self._is_time(now):
            return done_to
        return None

    def last_checkpoint(self) -> int | None:
        """The checkpoint to write before the group stops; None without progress."""
        done_to = self.done_to
        return done_to if done_to > self._checkpoint else None

    def checkpointed(self, number: int, now: float) -> None:
        """The checkpoint was written."""
        self._checkpoint = number
        self._checkpoint_time = now

    # Private ------------------------------------------------------------------------

    def _hand_out(self, now: float) -> None:
        self.waiting.hand_out(
            lambda message: self._hand_over(message, now),
            go_on=lambda: any(subscriber.free_slots for subscriber in self._strategy),
        )

    def _hand_over(self, message: Message, now: float) -> bool:
        """False if the message must wait for a subscriber, or for another with the same id."""
        if message.id in self.in_flight:
            return False
        subscriber = self._strategy.choose(message)
        if subscriber is None:
            return False
        delivery = Delivery(message, subscriber, now, now + self.settings.message_timeout / 1000)
        self.in_flight[message.id] = delivery
        self.handed_out += 1
        subscriber.hand(delivery)
        return True

    def _named(self, ids: Iterable[UUID]) -> Iterator[Delivery]:
        for message_id in ids:
            delivery = self.in_flight.get(message_id)
            if delivery is not None:
                yield delivery

    def _take_back(self, delivery: Delivery) -> Message:
        del self.in_flight[delivery.message.id]
        delivery.subscriber.release(delivery)
        return delivery.message

    def _retry_or_park(self, message: Message) -> None:
        if message.retries < self.settings.max_retry_count:
            self._retry(message)
        else:
            self._park_message(message, f"Reached retry count of {self.settings.max_retry_count}")

    def _retry(self, message: Message) -> None:
        message.retries += 1
        self.waiting.add(message)

    def _finish(self, message: Message) -> None:
        unfinished = self._unfinished_replays if message.replayed else self._unfinished
        del unfinished[message.number]

    def _is_time(self, now: float) -> bool:
        if not self.settings.check_point_after:
            return False
        if self._checkpoint_time is None:
            return True
        return now - self._checkpoint_time >= self.settings.check_point_after / 1000
