"""Persistent subscriptions of an event store that is stopped or killed, and restarted."""

from __future__ import annotations

import pytest
from esdbclient import NewEvent
from esdbclient.exceptions import NotFound, ServiceUnavailable

from tests.integration.lepret.eventstore.conftest import Connect
from tests.integration.lepret.eventstore.events import append
from tests.integration.lepret.eventstore.persistent.groups import (
    Group,
    checkpointed_all,
    parked_links,
    reading,
    same,
    take,
)
from tests.support.event_store import EmbeddedEventStore
from tests.support.processes import wait_until

pytestmark = pytest.mark.flaky(reruns=0)


@pytest.fixture(params=["stream", "all"])
def own_group(request: pytest.FixtureRequest, store: EmbeddedEventStore, connect: Connect) -> Group:
    """A group on an event store of the test's own."""
    return Group(connect(store.uri), on_all=request.param == "all")


class TestRestarted:
    def test_goes_on_after_what_was_acked(
        self, own_group: Group, store: EmbeddedEventStore
    ) -> None:
        """A clean stop keeps all progress."""
        events = own_group.append(5)
        own_group.create()
        with reading(own_group, buffer=2) as subscription:
            for event in take(subscription, 2):
                subscription.ack(event)
            take(subscription, 2)
        store.restart()
        assert same(own_group.acked(3), events[2:])

    def test_killed_goes_on_from_the_checkpoint(
        self, own_group: Group, store: EmbeddedEventStore
    ) -> None:
        own_group.append(5)
        own_group.create(min_checkpoint_count=1)
        own_group.acked(5)
        own_group.wait_for_checkpoint()
        store.crash()
        assert checkpointed_all(own_group)
        events = own_group.append(1)
        assert same(own_group.acked(1), events)

    def test_killed_before_a_checkpoint_begins_where_it_began(
        self, own_group: Group, store: EmbeddedEventStore
    ) -> None:
        """Events after the creation of a group from the end are not lost."""
        own_group.append(2)
        own_group.create(from_end=True)
        events = own_group.append(3)
        store.crash()
        assert same(own_group.acked(3), events)

    def test_killed_keeps_parked_messages(
        self, own_group: Group, store: EmbeddedEventStore
    ) -> None:
        events = own_group.append(3)
        own_group.create(min_checkpoint_count=1)
        own_group.parked(3)
        own_group.wait_for_checkpoint()
        store.crash()
        assert own_group.info().parked_message_count == 3
        own_group.replay()
        assert same(own_group.acked(3), events)

    def test_killed_keeps_replays_that_are_not_done(
        self, own_group: Group, store: EmbeddedEventStore
    ) -> None:
        own_group.append(3)
        own_group.create(min_checkpoint_count=1)
        own_group.parked(3)
        own_group.wait_for_checkpoint()
        own_group.replay()
        own_group.acked(1, leaving=2)
        wait_until(lambda: len(parked_links(own_group)) == 2)
        store.crash()
        assert own_group.info().parked_message_count == 2

    def test_keeps_the_settings(self, own_group: Group, store: EmbeddedEventStore) -> None:
        own_group.create(
            message_timeout=7.5,
            max_retry_count=3,
            min_checkpoint_count=4,
            max_checkpoint_count=5,
            checkpoint_after=6.0,
            max_subscriber_count=7,
            live_buffer_size=8,
            history_buffer_size=9,
            read_batch_size=2,
            consumer_strategy="PinnedByCorrelation",
            extra_statistics=True,
            resolve_links=True,
        )
        before = own_group.info()
        store.crash()
        after = own_group.info()
        for name in vars(before).keys() - {"status"}:
            assert getattr(after, name) == getattr(before, name)

    def test_deleted_stays_deleted(self, own_group: Group, store: EmbeddedEventStore) -> None:
        own_group.create()
        own_group.delete()
        store.crash()
        with pytest.raises(NotFound):
            own_group.info()

    def test_created_again_begins_anew(self, own_group: Group, store: EmbeddedEventStore) -> None:
        events = own_group.append(3)
        own_group.create(min_checkpoint_count=1)
        own_group.parked(1)
        own_group.acked(2)
        own_group.wait_for_checkpoint()
        own_group.delete()
        own_group.create()
        store.crash()
        assert own_group.info().parked_message_count == 0
        assert same(own_group.acked(3), events)

    def test_invalid_settings_are_skipped(
        self, own_group: Group, store: EmbeddedEventStore
    ) -> None:
        own_group.create()
        stream = "$persistentSubscriptionConfig"
        append(own_group.client, stream, [NewEvent(type="$PersistentConfig", data=b'{"x": 1}')])
        store.restart()
        assert own_group.info().group_name == own_group.name

    def test_readers_end_as_unavailable(self, own_group: Group, store: EmbeddedEventStore) -> None:
        own_group.create()
        with reading(own_group) as subscription:
            store.stop()
            with pytest.raises(ServiceUnavailable):
                next(subscription)
