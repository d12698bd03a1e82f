"""Groups of workers that share the events of some types: EventStoreDB's persistent subscriptions.

The event store delivers each event to one worker of the group. If the worker ends without an
answer, another one gets the event.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from esdbclient import EventStoreDBClient, RecordedEvent
from esdbclient.exceptions import AlreadyExists, NotFound

CALL_TIMEOUT_SECONDS: Final = 5.0

# How long a worker may keep an event unanswered. It must be longer than the longest delay before a
# retry. Dead workers are noticed sooner: their connection ends at once.
MESSAGE_TIMEOUT_SECONDS: Final = 900.0
LONGEST_DELAY_SECONDS: Final = 600.0

# How many unanswered events a worker may have. Those that wait for a retry count too, and must
# leave room for others.
MOST_IN_FLIGHT: Final = 256

# Workers park events after far fewer retries. Only an event that kills every worker reaches this
# number.
_MOST_RETRIES: Final = 1_000
_ANY_NUMBER: Final = 0


class GroupUnknown(Exception):
    """The event store does not have the group: no worker has ever connected to it."""


class PersistentSubscription(Protocol):
    """The part of esdbclient's persistent subscriptions that workers use."""

    def __iter__(self) -> Iterator[RecordedEvent]: ...

    def ack(self, item: RecordedEvent) -> None: ...

    def nack(self, item: RecordedEvent, action: Literal["retry", "park"]) -> None: ...

    def stop(self) -> None: ...


@dataclass(frozen=True)
class Group:
    """Workers that share all events of these types, from the first one in the event store.

    `is_ours` tells our events from those of other applications, which the event store cannot.
    """

    name: str
    event_types: tuple[str, ...]
    is_ours: Callable[[RecordedEvent], bool]

    def subscribe(self, client: EventStoreDBClient) -> PersistentSubscription:
        """Connect to the group, which is created if it does not exist.

        Raises:
            EventStoreDBClientException: the event store is away.
        """
        # This has a timeout, and so fails if the event store hangs. Reading has none.
        self._make_if_missing(client)
        return client.read_subscription_to_all(self.name, event_buffer_size=MOST_IN_FLIGHT)

    def check(self, client: EventStoreDBClient) -> None:
        """Check that the event store answers, and has the group.

        Raises:
            EventStoreDBClientException: it does not.
        """
        client.get_subscription_info(self.name, timeout=CALL_TIMEOUT_SECONDS)

    def replay_parked(self, client: EventStoreDBClient) -> int:
        """Have parked events delivered to the workers again; returns their number.

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
                # One pattern in brackets, since the client joins several to ^A|B$.
                filter_include=[f"({'|'.join(self.event_types)})"],
                consumer_strategy="RoundRobin",
                message_timeout=MESSAGE_TIMEOUT_SECONDS,
                max_retry_count=_MOST_RETRIES,
                max_subscriber_count=_ANY_NUMBER,
                timeout=CALL_TIMEOUT_SECONDS,
            )
