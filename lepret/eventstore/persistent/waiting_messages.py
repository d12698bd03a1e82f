"""The messages that wait for a subscriber."""

from bisect import insort
from collections import deque
from collections.abc import Callable

from lepret.eventstore.persistent.message import Message

_Queue = deque[Message]


class WaitingMessages:
    """Three queues, each ordered by number: retries first, then replays, then new messages."""

    def __init__(self) -> None:
        self._retries: _Queue = deque()
        self._replays: _Queue = deque()
        self._new: _Queue = deque()
        self.size = 0
        """Bytes of their events in memory."""

    def __len__(self) -> int:
        return self.retry_count + self.new_count

    @property
    def retry_count(self) -> int:
        """How many are retries or replays."""
        return len(self._retries) + len(self._replays)

    @property
    def new_count(self) -> int:
        """How many were never delivered."""
        return len(self._new)

    def add(self, message: Message) -> None:
        """Put a message into its queue."""
        insort(self._queue_of(message), message, key=_number)
        self.size += message.size

    def hand_out(self, hand_over: Callable[[Message], bool], go_on: Callable[[], bool]) -> None:
        """Offer messages in order while ``go_on``; keep those that ``hand_over`` refuses."""
        for queue in (self._retries, self._replays, self._new):
            held_back: list[Message] = []
            while queue and go_on():
                message = queue.popleft()
                self.size -= message.size
                if not hand_over(message):
                    held_back.append(message)
                    self.size += message.size
            queue.extendleft(reversed(held_back))

    def _queue_of(self, message: Message) -> _Queue:
        if message.replayed:
            return self._replays
        return self._retries if message.retries else self._new


def _number(message: Message) -> int:
    return message.number
