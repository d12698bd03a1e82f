"""Groups of workers that share the events of some types: EventStoreDB's persistent subscriptions.

The event store hands each event to one worker of the group. What a worker has not answered when it
ends, however it ends, is handed to another.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from esdbclient import EventStoreDBClient, RecordedEvent
from esdbclient.exceptions import AlreadyExists, NotFound

CALL_TIMEOUT_SECONDS: Final = 5.0

# How long a worker may keep an event without an answer: longer than it may have to wait before it
# is tried again. A worker that died is noticed at once, whatever this is.
MESSAGE_TIMEOUT_SECONDS: Final = 900.0
LONGEST_DELAY_SECONDS: Final = 600.0

# How many events a worker is given ahead. Those that wait to be tried again are among them, and
# must not keep others from being tried.
MOST_IN_FLIGHT: Final = 256

# The workers count for themselves. Here end only events that kill their worker, again and again.
_MOST_RETRIES: Final = 1_000
_ANY_NUMBER: Final = 0

Connect = Callable[[], EventStoreDBClient]


class GroupUnknown(Exception):
    """There is no such group in the event store, since no worker has ever been there."""


class Subscription(Protocol):
    """What is needed of esdbclient's persistent subscriptions."""

    def __iter__(self) -> Iterator[RecordedEvent]: ...

    def ack(self, item: RecordedEvent) -> None: ...

    def nack(self, item: RecordedEvent, action: Literal["retry", "park"]) -> None: ...

    def stop(self) -> None: ...


@dataclass(frozen=True)
class Group:
    """Workers that share the events of these types, from the first that was ever recorded."""

    name: str
    event_types: tuple[str, ...]

    def subscribe(self, client: EventStoreDBClient) -> Subscription:
        """Take part in the group, which is made if it is missing.

        Raises:
            EventStoreDBClientException: the event store is away.
        """
        # A store that hangs is found out here, in time: reading waits for it without a bound.
        self._make_if_missing(client)
        return client.read_subscription_to_all(self.name, event_buffer_size=MOST_IN_FLIGHT)

    def check(self, client: EventStoreDBClient) -> None:
        """See that the event store answers, and still has the group.

        Raises:
            EventStoreDBClientException: it does not.
        """
        client.get_subscription_info(self.name, timeout=CALL_TIMEOUT_SECONDS)

    def replay_parked(self, client: EventStoreDBClient) -> int:
        """Have the workers try what was parked anew; answers how many events these are.

        Raises:
            GroupUnknown: there is no such group.
            EventStoreDBClientException: the event store is away.
        """
        try:
            info = client.get_subscription_info(self.name, timeout=CALL_TIMEOUT_SECONDS)
            client.replay_parked_events(self.name, timeout=CALL_TIMEOUT_SECONDS)
        except NotFound:
            raise GroupUnknown(self.name) from None
        return info.parked_message_count

    def _make_if_missing(self, client: EventStoreDBClient) -> None:
        with contextlib.suppress(AlreadyExists):
            client.create_subscription_to_all(
                self.name,
                from_end=False,
                # In one pattern, since the client anchors only the ends of what it is given.
                filter_include=[f"({'|'.join(self.event_types)})"],
                consumer_strategy="RoundRobin",
                message_timeout=MESSAGE_TIMEOUT_SECONDS,
                max_retry_count=_MOST_RETRIES,
                max_subscriber_count=_ANY_NUMBER,
                timeout=CALL_TIMEOUT_SECONDS,
            )
