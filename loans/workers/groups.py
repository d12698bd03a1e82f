"""Groups of workers that share the events of some types: EventStoreDB's persistent subscriptions.

The event store delivers each event to one worker of the group. If the worker ends without an
answer, another one gets the event.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final, Literal, Protocol

import grpc
from esdbclient import RecordedEvent
from esdbclient.exceptions import AlreadyExists, GrpcError, NotFound
from esdbclient.persistent import SubscriptionInfo

from lepret.common.event_store_connection import SharedClient

logger = logging.getLogger(__name__)

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

# All settings that the event store can change in a group that exists, so that none is left as
# somebody else has made it. Those below the line are the event store's defaults.
SETTINGS: Final[dict[str, Any]] = {
    "consumer_strategy": "RoundRobin",
    "message_timeout": MESSAGE_TIMEOUT_SECONDS,
    "max_retry_count": _MOST_RETRIES,
    "max_subscriber_count": _ANY_NUMBER,
    # ----
    "resolve_links": False,
    "live_buffer_size": 500,
    "read_batch_size": 200,
    "history_buffer_size": 500,
    "checkpoint_after": 2.0,
    "min_checkpoint_count": 10,
    "max_checkpoint_count": 1_000,
    "extra_statistics": False,
}

_ALL: Final = "$all"
_THE_START: Final = "C:0/P:0"


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
    `command` is the one of `manage.py` that runs its workers.
    """

    purpose: str
    event_types: tuple[str, ...]
    is_ours: Callable[[RecordedEvent], bool]
    command: str

    @property
    def name(self) -> str:
        """What the event store calls it. With other types or another start it is another group.

        The event store can change neither in a group that exists, and does not even tell its
        filter. So a group that was made with another one must have another name.
        """
        made_with = f"{_THE_START}\n{self._filter}"
        return f"{self.purpose}-{sha256(made_with.encode()).hexdigest()[:8]}"

    def prepare(self, client: SharedClient) -> None:
        """Make the group if it does not exist; otherwise bring it to our settings.

        To be called once in a process: a change disconnects all workers of the group. Those of two
        versions would take turns in changing it.

        Raises:
            EventStoreDBClientException: the event store is away, or lets us make no group.
        """
        if not self._make(client):
            self._compare(client)
        self._tell_of_others(client)

    def subscribe(self, client: SharedClient) -> PersistentSubscription:
        """Connect to the group, which is created if it does not exist.

        Raises:
            EventStoreDBClientException: the event store is away.
        """
        # This has a timeout, and so fails if the event store hangs. Reading has none.
        self._make(client)
        return client.read_subscription_to_all(self.name, event_buffer_size=MOST_IN_FLIGHT)

    def check(self, client: SharedClient) -> None:
        """Check that the event store answers, and has the group.

        Raises:
            EventStoreDBClientException: it does not.
        """
        client.get_subscription_info(self.name, timeout=CALL_TIMEOUT_SECONDS)

    def replay_parked(self, client: SharedClient) -> int:
        """Have parked events delivered to the workers again; returns their number.

        Raises:
            GroupUnknown: there is no such group.
            EventStoreDBClientException: the event store is away.
        """
        try:
            info = client.get_subscription_info(self.name, timeout=CALL_TIMEOUT_SECONDS)
            client.replay_parked_events(self.name, timeout=CALL_TIMEOUT_SECONDS)
        except NotFound:
            raise GroupUnknown(self.purpose) from None
        return info.parked_message_count

    def delete_others(self, client: SharedClient) -> list[str]:
        """Delete the groups that other versions have made for this purpose; returns their names.

        Raises:
            GroupUnknown: this version has no group, which would go through their events.
            EventStoreDBClientException: the event store is away, or does not let us.
        """
        try:
            self.check(client)
        except NotFound:
            raise GroupUnknown(self.purpose) from None
        names = [other.group_name for other in self._others(client)]
        for name in names:
            client.delete_subscription(name, timeout=CALL_TIMEOUT_SECONDS)
        return names

    @property
    def _filter(self) -> str:
        # One pattern in brackets, since the client joins several to ^A|B$.
        return f"({'|'.join(self.event_types)})"

    def _make(self, client: SharedClient) -> bool:
        """Make the group; returns false if it exists."""
        try:
            client.create_subscription_to_all(
                self.name,
                from_end=False,
                filter_include=[self._filter],
                timeout=CALL_TIMEOUT_SECONDS,
                **SETTINGS,
            )
        except AlreadyExists:
            return False
        return True

    def _compare(self, client: SharedClient) -> None:
        info = client.get_subscription_info(self.name, timeout=CALL_TIMEOUT_SECONDS)
        if info.start_from != _THE_START:
            logger.warning("%s began at %s: it is made anew", self.name, info.start_from)
            client.delete_subscription(self.name, timeout=CALL_TIMEOUT_SECONDS)
            self._make(client)
            return
        others = {
            key: getattr(info, key) for key in SETTINGS if getattr(info, key) != SETTINGS[key]
        }
        if others:
            self._change(client, others)

    def _change(self, client: SharedClient, others: dict[str, Any]) -> None:
        ours = {key: SETTINGS[key] for key in others}
        try:
            client.update_subscription_to_all(self.name, timeout=CALL_TIMEOUT_SECONDS, **ours)
        except GrpcError as error:
            if not _is_refused(error):
                raise
            # They are about how soon and to whom: each event is delivered all the same.
            logger.warning(
                "%s has other settings (%s), which this user of the event store may not change: it "
                "must be in $ops. The worker goes on with them",
                self.name,
                _listed(others),
            )
        else:
            logger.warning("Changed the settings of %s, which had %s", self.name, _listed(others))

    def _tell_of_others(self, client: SharedClient) -> None:
        try:
            others = self._others(client)
        except GrpcError as error:
            if not _is_refused(error):
                raise
            return
        for other in others:
            logger.warning(
                "The group %s, with %d parked, is another version's. %s goes through all events "
                "from the first one on, also those. Once no other version runs, delete it: "
                "manage.py %s --delete-old-groups",
                other.group_name,
                other.parked_message_count,
                self.name,
                self.command,
            )

    def _others(self, client: SharedClient) -> Sequence[SubscriptionInfo]:
        is_alike = re.compile(rf"{re.escape(self.purpose)}(-[0-9a-f]{{8}})?")
        return [
            info
            for info in client.list_subscriptions(timeout=CALL_TIMEOUT_SECONDS)
            if info.event_source == _ALL
            and is_alike.fullmatch(info.group_name)
            and info.group_name != self.name
        ]


def _is_refused(error: GrpcError) -> bool:
    cause = error.args[0] if error.args else None
    return isinstance(cause, grpc.Call) and cause.code() is grpc.StatusCode.PERMISSION_DENIED


def _listed(settings: dict[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in settings.items())
