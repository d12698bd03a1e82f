"""Groups of workers that share the events of some types: EventStoreDB's persistent subscriptions.

The event store delivers each event to one worker of the group. If the worker ends without an
answer, another one gets the event.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final, Literal, Protocol

import grpc
from esdbclient import RecordedEvent
from esdbclient.exceptions import (
    AccessDeniedError,
    AlreadyExists,
    EventStoreDBClientException,
    GrpcError,
    NotFound,
)
from esdbclient.persistent import SubscriptionInfo

from lepret.common.event_store_connection import SharedClient
from lepret.common.event_store_refusals import status_of

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


# What makes the groups, and brings them to our settings.
PREPARE: Final = "manage.py prepare_event_store"


class GroupMissing(Exception):
    """The event store does not have the group; the message says what makes it."""


class PersistentSubscription(Protocol):
    """The part of esdbclient's persistent subscriptions that workers use."""

    def __iter__(self) -> Iterator[RecordedEvent]: ...

    def ack(self, item: RecordedEvent) -> None: ...

    def nack(self, item: RecordedEvent, action: Literal["retry", "park"]) -> None: ...

    def stop(self) -> None: ...


@dataclass(frozen=True)
class Group:
    """Workers that share all events of these types, from the first one in the event store.

    `is_wanted` tells those about which there may be something to do, which the event store cannot.
    Others, as those of other applications, are acknowledged as they arrive.
    """

    purpose: str
    event_types: tuple[str, ...]
    is_wanted: Callable[[RecordedEvent], bool]

    @property
    def name(self) -> str:
        """What the event store calls it. With other types or another start it is another group.

        The event store can change neither in a group that exists, and does not even tell its
        filter. So a group that was made with another one must have another name.
        """
        made_with = f"{_THE_START}\n{self._filter}"
        return f"{self.purpose}-{sha256(made_with.encode()).hexdigest()[:8]}"

    def prepare(self, client: SharedClient) -> str:
        """Make the group, or bring it to our settings; returns what was done.

        A group that is as it should be is left alone: a change disconnects all its workers.

        Raises:
            EventStoreDBClientException: the event store is away, or does not let us.
        """
        if self._make(client):
            return "made"
        info = self._info(client)
        if info.start_from != _THE_START:
            client.delete_subscription(self.name, timeout=CALL_TIMEOUT_SECONDS)
            self._make(client)
            return f"made anew: it began at {info.start_from}"
        others = _settings_unlike_ours(info)
        if not others:
            return "there already"
        ours = {key: SETTINGS[key] for key in others}
        client.update_subscription_to_all(self.name, timeout=CALL_TIMEOUT_SECONDS, **ours)
        return f"changed: it had {_listed(others)}"

    def subscribe(self, client: SharedClient) -> PersistentSubscription:
        """Connect to the group. If it is missing, it is made, which not every user may do.

        Raises:
            GroupMissing: it is missing, and this user may not make it.
            EventStoreDBClientException: the event store is away, or does not let us read.
        """
        try:
            # This has a timeout, and so fails if the event store hangs. Reading has none.
            self.check(client)
            return self._read(client)
        except NotFound:
            self._make_if_allowed(client)
        return self._read(client)

    def check(self, client: SharedClient) -> None:
        """Check that the event store answers, and has the group if this user may ask for it.

        Raises:
            EventStoreDBClientException: it does not.
        """
        try:
            self._info(client)
        except GrpcError as error:
            if not is_refused(error):
                raise

    def warn(self, client: SharedClient) -> None:
        """Log what is not as this version would have it, and what to do.

        Raises:
            EventStoreDBClientException: the event store is away.
        """
        try:
            with suppress(NotFound):
                self._warn_of_settings(self._info(client))
            self._warn_of_other_versions(client)
        except GrpcError as error:
            if not is_refused(error):
                raise
            logger.info("%s is used as it is: this user may not ask about groups", self.name)

    def replay_parked(self, client: SharedClient) -> int:
        """Have parked events delivered to the workers again; returns their number.

        Raises:
            GroupMissing: there is no such group.
            EventStoreDBClientException: the event store is away, or does not let us.
        """
        try:
            info = self._info(client)
            client.replay_parked_events(self.name, timeout=CALL_TIMEOUT_SECONDS)
        except NotFound:
            raise self._missing() from None
        return info.parked_message_count

    def of_other_versions(self, client: SharedClient) -> Sequence[SubscriptionInfo]:
        """The groups that other versions have made for this purpose.

        Raises:
            EventStoreDBClientException: the event store is away.
        """
        is_alike = re.compile(rf"{re.escape(self.purpose)}(-[0-9a-f]{{8}})?")
        return [
            info
            for info in client.list_subscriptions(timeout=CALL_TIMEOUT_SECONDS)
            if info.event_source == _ALL
            and is_alike.fullmatch(info.group_name)
            and info.group_name != self.name
        ]

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

    def _make_if_allowed(self, client: SharedClient) -> None:
        try:
            self._make(client)
        except GrpcError as error:
            if is_refused(error):
                raise self._missing() from None
            raise

    def _missing(self) -> GroupMissing:
        return GroupMissing(
            f"The event store has no group {self.name}. A user in $ops makes it: {PREPARE}"
        )

    def _info(self, client: SharedClient) -> SubscriptionInfo:
        return client.get_subscription_info(self.name, timeout=CALL_TIMEOUT_SECONDS)

    def _read(self, client: SharedClient) -> PersistentSubscription:
        return client.read_subscription_to_all(self.name, event_buffer_size=MOST_IN_FLIGHT)

    def _warn_of_settings(self, info: SubscriptionInfo) -> None:
        others = _settings_unlike_ours(info)
        if info.start_from != _THE_START:
            others["start_from"] = info.start_from
        if others:
            # But for the start, they are about how soon and to whom events are delivered.
            logger.warning(
                "%s is used as it is, but has other settings: %s. A user in $ops brings it to "
                "ours: %s",
                self.name,
                _listed(others),
                PREPARE,
            )

    def _warn_of_other_versions(self, client: SharedClient) -> None:
        for other in self.of_other_versions(client):
            logger.warning(
                "The group %s, with %d parked, is another version's. %s goes through all events "
                "from the first one on, also those. Once no other version runs, delete it: "
                "%s --delete-old-groups",
                other.group_name,
                other.parked_message_count,
                self.name,
                PREPARE,
            )


def is_refused(error: EventStoreDBClientException) -> bool:
    """Whether the event store knows this user, and does not let it do that."""
    is_of_append = isinstance(error, AccessDeniedError)
    return is_of_append or status_of(error) is grpc.StatusCode.PERMISSION_DENIED


def _settings_unlike_ours(info: SubscriptionInfo) -> dict[str, Any]:
    has = {key: getattr(info, key) for key in SETTINGS}
    return {key: value for key, value in has.items() if value != SETTINGS[key]}


def _listed(settings: dict[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in settings.items())
