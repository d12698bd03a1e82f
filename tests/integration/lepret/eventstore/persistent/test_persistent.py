"""Persistent subscriptions as clients see them."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from esdbclient import EventStoreDBClient, NewEvent
from esdbclient.exceptions import AlreadyExists, GrpcError, MaximumSubscriptionsReached, NotFound
from esdbclient.protos.Grpc import persistent_pb2, shared_pb2

from tests.integration.lepret.eventstore.conftest import Connect
from tests.integration.lepret.eventstore.events import (
    append,
    commit_position,
    new_events,
    new_stream,
)
from tests.integration.lepret.eventstore.persistent.groups import (
    Group,
    can_read,
    connections,
    in_flight,
    number_text,
    parked_links,
    parked_stream,
    reading,
    replay_request,
    same,
    stub_of,
    take,
)
from tests.support.processes import PATIENCE, wait_until


@pytest.fixture(params=["stream", "all"])
def group(request: pytest.FixtureRequest, client: EventStoreDBClient) -> Group:
    """Runs each test with a group on a stream and on `$all`. The test creates it."""
    return Group(client, on_all=request.param == "all")


class TestReading:
    def test_history_then_live(self, group: Group) -> None:
        events = group.append(3)
        group.create()
        with reading(group) as subscription:
            received = take(subscription, 3)
            events += group.append(2)
            received += take(subscription, 2)
        assert same(received, events)

    def test_more_than_a_buffer(self, group: Group) -> None:
        events = group.append(1200)
        group.create(history_buffer_size=20, read_batch_size=10)
        received = []
        with reading(group, buffer=7) as subscription:
            for n in range(1200):
                received.append(next(subscription))
                subscription.ack(received[-1])
                if n % 100 == 0:
                    assert group.info().read_buffer_count <= 20
        assert same(received, events)

    def test_events_are_as_any_read_shows_them(self, group: Group) -> None:
        group.create()
        group.append(1)
        with reading(group) as subscription:
            event = next(subscription)
        (read,) = group.client.get_stream(group.stream)
        assert event.retry_count == 0
        for name in ("id", "type", "data", "metadata", "content_type", "stream_name"):
            assert getattr(event, name) == getattr(read, name)
        assert event.stream_position == read.stream_position == 0
        assert event.commit_position == read.commit_position
        assert event.recorded_at == read.recorded_at

    def test_from_the_end(self, group: Group) -> None:
        group.append(3)
        group.create(from_end=True)
        events = group.append(2)
        with reading(group) as subscription:
            assert same(take(subscription, 2), events)

    def test_from_a_revision_inclusive(self, client: EventStoreDBClient) -> None:
        group = Group(client)
        events = group.append(4)
        group.create(stream_position=2)
        with reading(group) as subscription:
            assert same(take(subscription, 2), events[2:])

    def test_from_a_position_inclusive(self, client: EventStoreDBClient) -> None:
        group = Group(client, on_all=True)
        events = group.append(4)
        third = client.get_stream(group.stream)[2]
        group.create(commit_position=commit_position(third))
        with reading(group) as subscription:
            assert same(take(subscription, 2), events[2:])

    def test_a_group_does_not_read_its_own_checkpoints(self, client: EventStoreDBClient) -> None:
        group = Group(client, on_all=True)
        start = append(client, new_stream(), new_events(1))
        client.create_subscription_to_all(
            group.name,
            commit_position=start,
            filter_exclude=(),
            min_checkpoint_count=1,
            checkpoint_after=0.001,
        )
        with reading(group, buffer=1) as subscription:
            subscription.ack(next(subscription))
            wait_until(lambda: group.info().last_checkpointed_event_position)
            (last,) = group.append(1)
            received = next(subscription)
            while received.id != last.id:
                assert not received.stream_name.startswith("$persistentsubscription-$all::")
                subscription.ack(received)
                received = next(subscription)
        shown = {event.stream_name for event in client.read_all(filter_exclude=())}
        assert f"$persistentsubscription-$all::{group.name}-checkpoint" not in shown

    def test_filters_by_stream_name(self, client: EventStoreDBClient) -> None:
        group = Group(client, on_all=True)
        client.create_subscription_to_all(
            group.name, filter_include=[group.stream], filter_by_stream_name=True
        )
        append(client, new_stream(), new_events(2))
        events = group.append(2)
        with reading(group) as subscription:
            assert same(take(subscription, 2), events)

    def test_the_buffer_bounds_what_is_in_flight(self, group: Group) -> None:
        group.append(5)
        group.create()
        with reading(group, buffer=2) as subscription:
            take(subscription, 2)
            info = group.info()
            assert (info.total_in_flight_messages, info.read_buffer_count) == (2, 3)

    def test_others_get_the_messages_of_a_subscriber_that_left(self, group: Group) -> None:
        events = group.append(3)
        group.create()
        with reading(group) as first, reading(group) as second:
            assert same(take(first, 3), events)
            first.stop()
            received = take(second, 3)
        assert same(received, events)
        assert [event.retry_count for event in received] == [1, 1, 1]

    def test_a_reader_that_does_not_read_holds_up_no_other(self, group: Group) -> None:
        large = [NewEvent(type=group.type, data=b"x" * 500_000) for _ in range(40)]
        for event in large:
            append(group.client, group.stream, [event])
        group.create()
        with reading(group, buffer=20) as stuck:
            next(stuck)
            with reading(group, buffer=20) as quick:
                assert same(take(quick, 20), large[20:])

    def test_resolved_links(self, client: EventStoreDBClient) -> None:
        group = Group(client)
        (event,) = group.append(1)
        links = new_stream()
        append(client, links, [NewEvent(type="$>", data=f"0@{group.stream}".encode())])
        client.create_subscription_to_stream(group.name, links, resolve_links=True)
        subscription = client.read_subscription_to_stream(group.name, links, timeout=PATIENCE)
        received = next(subscription)
        assert received.id == event.id
        assert received.link is not None
        assert received.link.stream_name == links
        subscription.ack(received)
        wait_until(
            lambda: client.get_subscription_info(group.name, links).outstanding_messages_count == 0
        )
        subscription.stop()

    def test_ids_as_two_integers_on_request(self, uri: str, client: EventStoreDBClient) -> None:
        group = Group(client).create()
        (event,) = group.append(1)
        options = persistent_pb2.ReadReq.Options(
            stream_identifier=shared_pb2.StreamIdentifier(stream_name=group.stream.encode()),
            group_name=group.name,
            buffer_size=10,
            uuid_option=persistent_pb2.ReadReq.Options.UUIDOption(structured=shared_pb2.Empty()),
        )
        with stub_of(uri) as stub:
            responses = stub.Read(iter([persistent_pb2.ReadReq(options=options)]), timeout=PATIENCE)
            confirmation, delivery = next(responses), next(responses)
            responses.cancel()
        assert confirmation.subscription_confirmation.subscription_id == (
            f"{group.stream}::{group.name}"
        )
        structured = delivery.event.event.id.structured
        assert structured.most_significant_bits % 2**64 == event.id.int >> 64


class TestAnswers:
    def test_an_ack_makes_room(self, group: Group) -> None:
        events = group.append(3)
        group.create()
        with reading(group, buffer=1) as subscription:
            for expected in events:
                event = next(subscription)
                assert event.id == expected.id
                subscription.ack(event)

    @pytest.mark.parametrize("action", ["retry", "unknown"])
    def test_nacked_for_a_retry(self, group: Group, action: str) -> None:
        (event,) = group.append(1)
        group.create()
        with reading(group) as subscription:
            for retries in range(3):
                received = next(subscription)
                assert (received.id, received.retry_count) == (event.id, retries)
                subscription.nack(received, action)  # type: ignore[arg-type]

    @pytest.mark.parametrize("action", ["skip", "stop"])
    def test_nacked_without_a_retry(self, group: Group, action: str) -> None:
        events = group.append(2)
        group.create()
        with reading(group, buffer=1) as subscription:
            subscription.nack(next(subscription), action)  # type: ignore[arg-type]
            received = next(subscription)
            assert (received.id, received.retry_count) == (events[1].id, 0)
            assert group.info().parked_message_count == 0

    def test_no_answer_in_time(self, group: Group) -> None:
        (event,) = group.append(1)
        group.create(message_timeout=0.2)
        with reading(group) as subscription:
            for retries in range(2):
                received = next(subscription)
                assert (received.id, received.retry_count) == (event.id, retries)

    def test_retried_too_often(self, group: Group) -> None:
        events = group.append(2)
        group.create(max_retry_count=2)
        with reading(group, buffer=1) as subscription:
            for _ in range(3):
                received = next(subscription)
                assert received.id == events[0].id
                subscription.nack(received, "retry")
            assert next(subscription).id == events[1].id
            wait_until(lambda: group.info().parked_message_count == 1)


class TestParking:
    def test_parked_messages_are_links(self, group: Group) -> None:
        group.append(2)
        group.create()
        group.parked(2)
        links = group.client.get_stream(parked_stream(group))
        assert [link.type for link in links] == ["$>", "$>"]
        assert [link.data.decode() for link in links] == [
            f"0@{group.stream}",
            f"1@{group.stream}",
        ]

    def test_replayed_with_the_original_event(self, group: Group) -> None:
        events = group.append(2)
        group.create()
        group.parked(2)
        group.replay()
        with reading(group) as subscription:
            received = take(subscription, 2)
            assert same(received, events)
            for event in received:
                assert event.link is not None
                assert event.link.stream_name == parked_stream(group)
                subscription.ack(event)
            wait_until(lambda: group.info().outstanding_messages_count == 0)
        assert group.info().parked_message_count == 0

    def test_replayed_messages_leave_the_parked_stream_when_done(self, group: Group) -> None:
        group.append(2)
        group.create()
        group.parked(2)
        group.replay()
        group.acked(2)
        wait_until(lambda: not parked_links(group))

    def test_replayed_and_parked_again(self, group: Group) -> None:
        events = group.append(1)
        group.create()
        group.parked(1)
        for _ in range(2):
            group.replay()
            assert same(group.parked(1), events)
        assert group.info().parked_message_count == 1

    def test_replayed_up_to_a_revision(self, uri: str, client: EventStoreDBClient) -> None:
        group = Group(client)
        events = group.append(3)
        group.create()
        group.parked(3)
        with stub_of(uri) as stub:
            stub.ReplayParked(replay_request(group, stop_at=2), timeout=PATIENCE)
        assert group.info().parked_message_count == 1
        assert same(group.acked(2), events[:2])
        group.replay()
        assert same(group.acked(1), events[2:])

    def test_a_replay_of_more_than_a_buffer(self, group: Group) -> None:
        events = group.append(300)
        group.create(history_buffer_size=20, read_batch_size=10)
        with reading(group) as subscription:
            for _ in events:
                subscription.nack(next(subscription), "park")
            wait_until(lambda: group.info().parked_message_count == 300)
        group.replay()
        received = []
        with reading(group, buffer=10) as subscription:
            for _ in events:
                received.append(next(subscription))
                subscription.ack(received[-1])
        assert same(received, events)


class TestManyReaders:
    def test_round_robin(self, group: Group) -> None:
        group.create(consumer_strategy="RoundRobin")
        with reading(group) as first, reading(group) as second:
            events = group.append(4)
            assert same(take(first, 2), events[::2])
            assert same(take(second, 2), events[1::2])

    def test_pinned_by_stream(self, uri: str, client: EventStoreDBClient) -> None:
        group = Group(client, on_all=True)
        group.create(consumer_strategy="Pinned")
        streams = [new_stream() for _ in range(20)]
        with reading(group) as first, reading(group) as second:
            for stream in streams:
                append(client, stream, new_events(3, group.type))
            wait_until(lambda: group.info().outstanding_messages_count == 60)
            few, many = in_flight(uri, group)
            here = {event.stream_name for event in take(first, few)}
            there = {event.stream_name for event in take(second, many)}
        assert len(here) + len(there) == 20
        assert not here & there
        assert min(few, many) > 0

    def test_pinned_by_correlation(self, uri: str, client: EventStoreDBClient) -> None:
        group = Group(client, on_all=True)
        group.create(consumer_strategy="PinnedByCorrelation")
        with reading(group), reading(group):
            for stream in [new_stream() for _ in range(10)]:
                metadata = b'{"$correlationId": "one"}'
                append(client, stream, [NewEvent(type=group.type, data=b"{}", metadata=metadata)])
            wait_until(lambda: group.info().outstanding_messages_count == 10)
            assert sorted(in_flight(uri, group)) == [0, 10]

    def test_no_more_than_the_maximum(self, group: Group) -> None:
        group.create(max_subscriber_count=2)
        with reading(group):
            with reading(group), pytest.raises(MaximumSubscriptionsReached):
                group.read()
            wait_until(lambda: can_read(group))


class TestManaging:
    def test_a_second_group_of_the_same_name(self, group: Group) -> None:
        group.create()
        with pytest.raises(AlreadyExists):
            group.create()

    def test_a_group_that_does_not_exist(self, group: Group) -> None:
        calls: list[Callable[[], object]] = [
            group.read,
            group.info,
            group.update,
            group.delete,
            group.replay,
        ]
        for call in calls:
            with pytest.raises(NotFound):
                call()

    def test_deleted_with_all_it_kept(self, group: Group) -> None:
        events = group.append(3)
        group.create(min_checkpoint_count=1)
        group.parked(1)
        group.acked(2)
        wait_until(lambda: group.info().last_checkpointed_event_position)
        group.delete()
        with pytest.raises(NotFound):
            group.info()
        group.create()
        assert group.info().parked_message_count == 0
        assert same(group.acked(3), events)

    @pytest.mark.parametrize("change", [Group.delete, Group.update])
    def test_subscribers_are_dropped(self, group: Group, change: Callable[[Group], None]) -> None:
        group.create()
        with reading(group) as subscription:
            change(group)
            with pytest.raises(GrpcError, match="was dropped"):
                next(subscription)

    def test_updated(self, group: Group) -> None:
        events = group.append(2)
        group.create()
        group.update(message_timeout=7.5, consumer_strategy="Pinned", max_subscriber_count=3)
        info = group.info()
        assert (info.message_timeout, info.consumer_strategy) == (7.5, "Pinned")
        assert info.max_subscriber_count == 3
        append(group.client, new_stream(), new_events(1))
        assert same(group.acked(2), events)

    def test_an_update_goes_on_from_the_checkpoint(self, group: Group) -> None:
        events = group.append(3)
        group.create(min_checkpoint_count=1)
        group.acked(3)
        group.wait_for_checkpoint()
        group.update(max_retry_count=1)
        events = group.append(1)
        assert same(group.acked(1), events)

    def test_listed(self, client: EventStoreDBClient) -> None:
        groups = [Group(client).create(), Group(client, on_all=True).create()]
        listed = {info.group_name: info for info in client.list_subscriptions()}
        assert [listed[group.name].event_source for group in groups] == [groups[0].stream, "$all"]
        (info,) = client.list_subscriptions_to_stream(groups[0].stream)
        assert info.group_name == groups[0].name
        assert client.list_subscriptions_to_stream(new_stream()) == []

    def test_list_of_all(self, uri: str, client: EventStoreDBClient) -> None:
        on_stream, on_all = Group(client).create(), Group(client, on_all=True).create()
        options = persistent_pb2.ListReq.Options(
            list_for_stream=persistent_pb2.ListReq.StreamOption(all=shared_pb2.Empty())
        )
        with stub_of(uri) as stub:
            listed = stub.List(persistent_pb2.ListReq(options=options), timeout=PATIENCE)
        names = {info.group_name for info in listed.subscriptions}
        assert on_all.name in names
        assert on_stream.name not in names

    def test_statistics(self, group: Group) -> None:
        group.append(3)
        group.create(min_checkpoint_count=1)
        with reading(group, buffer=2) as subscription:
            first, second = take(subscription, 2)
            subscription.ack(first)
            wait_until(lambda: group.info().total_items == 3)
            subscription.nack(second, "park")
            wait_until(lambda: group.info().parked_message_count == 1)
            info = group.info()
            assert info.status == "Live"
            assert (info.total_items, info.outstanding_messages_count) == (3, 1)
            assert (info.read_buffer_count, info.retry_buffer_count) == (0, 0)
            wait_until(lambda: group.info().last_checkpointed_event_position)
            last = group.client.get_stream(group.stream)[-1]
            assert group.info().last_known_event_position == number_text(group, last)

    def test_statistics_of_a_subscriber(
        self, uri: str, connect: Connect, client: EventStoreDBClient
    ) -> None:
        group = Group(connect(f"{uri}&connectionName=desk-7"))
        group.append(4)
        group.create(extra_statistics=True)
        with reading(group, buffer=3) as subscription:
            (subscriber,) = connections(uri, group)
            assert (subscriber.connection_name, subscriber.username) == ("desk-7", "system")
            assert not subscriber.observed_measurements
            for event in take(subscription, 3):
                subscription.ack(event)
            assert take(subscription, 1)
            (subscriber,) = connections(uri, group)
            times = {each.key: each.value for each in subscriber.observed_measurements}
        assert list(times) == [
            "Mean", "Median", "Fastest", "Quintile 1", "Quintile 2", "Quintile 3", "Quintile 4",
            "Quintile 5", "90%", "95%", "99%", "99.5%", "99.9%", "Highest",
        ]  # fmt: skip
        assert 0 <= times["Fastest"] <= times["Median"] <= times["Highest"] < PATIENCE * 1000

    def test_restarting_the_subsystem(self, uri: str, client: EventStoreDBClient) -> None:
        group = Group(client)
        events = group.append(3)
        group.create()
        group.parked(1)
        group.acked(1, leaving=1)
        with reading(group) as subscription:
            with stub_of(uri) as stub:
                stub.RestartSubsystem(shared_pb2.Empty(), timeout=PATIENCE)
            with pytest.raises(GrpcError, match="was dropped"):
                list(subscription)
        wait_until(lambda: can_read(group))
        assert same(group.acked(1), events[2:])
        assert group.info().parked_message_count == 1


def test_a_checkpoint_stream_gets_metadata_only_when_its_group_is_deleted(
    client: EventStoreDBClient,
) -> None:
    group = Group(client).create(min_checkpoint_count=1, max_checkpoint_count=1)
    metastream = f"$$$persistentsubscription-{group.stream}::{group.name}-checkpoint"
    group.append(1)
    group.acked(1)
    group.wait_for_checkpoint()
    with pytest.raises(NotFound):
        client.get_stream(metastream)
    for _ in range(2):
        group.delete()
        (event,) = client.get_stream(metastream)
        assert event.stream_position == 0
        group.create()


def test_what_is_parked_names_its_revision_unless_that_is_zero(
    client: EventStoreDBClient,
) -> None:
    group = Group(client).create()
    group.append(2)
    group.parked(2)
    details = [json.loads(link.metadata) for link in parked_links(group)]
    assert [each.get("subscriptionEventNumber") for each in details] == [None, 1]
