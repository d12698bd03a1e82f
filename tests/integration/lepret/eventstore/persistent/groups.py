"""Groups of persistent subscriptions for tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import grpc
from esdbclient import EventStoreDBClient, NewEvent, RecordedEvent
from esdbclient.common import AbstractPersistentSubscription as Subscription
from esdbclient.exceptions import GrpcError, MaximumSubscriptionsReached, NotFound
from esdbclient.persistent import SubscriptionInfo
from esdbclient.protos.Grpc import persistent_pb2, shared_pb2
from esdbclient.protos.Grpc.persistent_pb2_grpc import PersistentSubscriptionsStub

from tests.integration.lepret.eventstore.events import (
    append,
    commit_position,
    new_events,
    new_stream,
    new_type,
)
from tests.support.processes import PATIENCE, wait_until


class Group:
    """A group on a stream, or on one type of events in `$all`."""

    def __init__(self, client: EventStoreDBClient, *, on_all: bool = False) -> None:
        self.client = client
        self.on_all = on_all
        self.name = f"g-{uuid4()}"
        self.stream = new_stream()
        self.type = new_type()

    def create(self, **settings: Any) -> Group:
        if self.on_all:
            self.client.create_subscription_to_all(
                self.name,
                filter_include=[self.type],
                **settings,
            )
        else:
            self.client.create_subscription_to_stream(
                self.name,
                self.stream,
                **settings,
            )
        return self

    def append(self, count: int) -> list[NewEvent]:
        events = new_events(count, self.type)
        append(self.client, self.stream, events)
        return events

    def read(self, buffer: int = 150) -> Subscription:
        """A subscriber that sends its answers at once, with a timeout."""
        if self.on_all:
            return self.client.read_subscription_to_all(
                self.name, event_buffer_size=buffer, max_ack_batch_size=1, timeout=PATIENCE
            )
        return self.client.read_subscription_to_stream(
            self.name, self.stream, event_buffer_size=buffer, max_ack_batch_size=1, timeout=PATIENCE
        )

    def info(self) -> SubscriptionInfo:
        return self.client.get_subscription_info(self.name, self._source)

    def update(self, **settings: Any) -> None:
        if self.on_all:
            self.client.update_subscription_to_all(self.name, **settings)
        else:
            self.client.update_subscription_to_stream(
                self.name,
                self.stream,
                **settings,
            )

    def replay(self) -> None:
        self.client.replay_parked_events(self.name, self._source)

    def delete(self) -> None:
        self.client.delete_subscription(self.name, self._source)

    def acked(self, count: int, *, leaving: int = 0) -> list[RecordedEvent]:
        """Receive and ack ``count`` events; returns when ``leaving`` others are unanswered."""
        with reading(self) as subscription:
            events = take(subscription, count)
            for event in events:
                subscription.ack(event)
            wait_until(lambda: self.info().outstanding_messages_count == leaving)
        return events

    def parked(self, count: int) -> list[RecordedEvent]:
        """Receive and park ``count`` events; returns when they are parked."""
        before = self.info().parked_message_count
        with reading(self) as subscription:
            events = take(subscription, count)
            for event in events:
                subscription.nack(event, "park")
            wait_until(lambda: self.info().parked_message_count == before + count)
        return events

    def wait_for_checkpoint(self) -> None:
        """Wait until the checkpoint covers the last event of the group."""
        wait_until(lambda: checkpointed_all(self))

    @property
    def _source(self) -> str | None:
        return None if self.on_all else self.stream


@contextmanager
def reading(group: Group, buffer: int = 150) -> Iterator[Subscription]:
    subscription = group.read(buffer)
    try:
        yield subscription
    finally:
        subscription.stop()


def take(subscription: Subscription, count: int) -> list[RecordedEvent]:
    return [next(subscription) for _ in range(count)]


def same(received: list[RecordedEvent], events: list[NewEvent]) -> bool:
    return [event.id for event in received] == [event.id for event in events]


@contextmanager
def stub_of(uri: str) -> Iterator[PersistentSubscriptionsStub]:
    """The generated stub, for requests that the client cannot send."""
    with grpc.insecure_channel(uri.removeprefix("esdb://").partition("?")[0]) as channel:
        yield PersistentSubscriptionsStub(channel)  # type: ignore[no-untyped-call]


def parked_stream(group: Group) -> str:
    source = "$all" if group.on_all else group.stream
    return f"$persistentsubscription-{source}::{group.name}-parked"


def parked_links(group: Group) -> list[RecordedEvent]:
    try:
        return list(group.client.get_stream(parked_stream(group)))
    except NotFound:
        return []


def number_text(group: Group, event: RecordedEvent) -> str:
    if not group.on_all:
        return str(event.stream_position)
    return f"C:{event.commit_position}/P:{event.commit_position}"


def checkpointed_all(group: Group) -> bool:
    """Whether the checkpoint covers the last event of the group."""
    text = group.info().last_checkpointed_event_position
    last = group.client.get_stream(group.stream)[-1]
    if not text:
        return False
    number = int(text.removeprefix("C:").partition("/")[0])
    return number >= (commit_position(last) if group.on_all else last.stream_position)


def can_read(group: Group) -> bool:
    try:
        group.read().stop()
    except (MaximumSubscriptionsReached, GrpcError):
        return False
    return True


def in_flight(uri: str, group: Group) -> list[int]:
    """The number of messages in flight to each subscriber."""
    return [one.in_flight_messages for one in connections(uri, group)]


def connections(uri: str, group: Group) -> list[persistent_pb2.SubscriptionInfo.ConnectionInfo]:
    """The server's information about each subscriber."""
    options = persistent_pb2.GetInfoReq.Options(group_name=group.name)
    if group.on_all:
        options.all.SetInParent()
    else:
        options.stream_identifier.stream_name = group.stream.encode()
    with stub_of(uri) as stub:
        response = stub.GetInfo(persistent_pb2.GetInfoReq(options=options), timeout=PATIENCE)
    return list(response.subscription_info.connections)


def subscribe(group: Group, buffer: int = 10) -> persistent_pb2.ReadReq:
    return persistent_pb2.ReadReq(
        options=persistent_pb2.ReadReq.Options(
            stream_identifier=shared_pb2.StreamIdentifier(stream_name=group.stream.encode()),
            group_name=group.name,
            buffer_size=buffer,
        )
    )


def replay_request(group: Group, *, stop_at: int) -> persistent_pb2.ReplayParkedReq:
    return persistent_pb2.ReplayParkedReq(
        options=persistent_pb2.ReplayParkedReq.Options(
            stream_identifier=shared_pb2.StreamIdentifier(stream_name=group.stream.encode()),
            group_name=group.name,
            stop_at=stop_at,
        )
    )
