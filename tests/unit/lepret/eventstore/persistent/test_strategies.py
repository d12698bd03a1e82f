"""Consumer strategies: which subscriber gets a message."""

from __future__ import annotations

import pytest

from lepret.eventstore.persistent.group import Group
from lepret.eventstore.persistent.strategies import STRATEGIES
from lepret.eventstore.persistent.subscriber import Subscriber
from tests.unit.lepret.eventstore.persistent.groups import (
    NOW,
    connect,
    ids,
    new_group,
    new_message,
    read,
    sent,
)


def test_dispatch_to_single_fills_one_subscriber_before_the_next() -> None:
    group = new_group(named_consumer_strategy="DispatchToSingle")
    first, second = connect(group, slots=3), connect(group, slots=3)
    read(group, *range(5))
    assert (sent(first), sent(second)) == ([0, 1, 2], [3, 4])


def test_round_robin_takes_turns() -> None:
    group = new_group(named_consumer_strategy="RoundRobin")
    first, second = connect(group), connect(group)
    read(group, *range(4))
    assert (sent(first), sent(second)) == ([0, 2], [1, 3])


def test_round_robin_skips_a_subscriber_without_a_free_slot() -> None:
    group = new_group(named_consumer_strategy="RoundRobin")
    first, second = connect(group, slots=1), connect(group)
    read(group, *range(4))
    assert (sent(first), sent(second)) == ([0], [1, 2, 3])


@pytest.mark.parametrize("strategy", ["Pinned", "PinnedByCorrelation"])
class TestPinned:
    def test_messages_with_one_pin_go_to_one_subscriber(self, strategy: str) -> None:
        group = new_group(named_consumer_strategy=strategy)
        subscribers = [connect(group, slots=1000) for _ in range(3)]
        _read_pinned(group, 300)
        for subscriber in subscribers:
            assert 20 < len(subscriber.in_flight) < 300
        assert sum(len(_pins(subscriber)) for subscriber in subscribers) == 30

    def test_messages_wait_for_it_and_hold_up_no_others(self, strategy: str) -> None:
        group = new_group(named_consumer_strategy=strategy)
        first, second = connect(group, slots=1), connect(group, slots=10)
        group.read([new_message(n, pin="ab"[n > 1]) for n in range(4)], 3, NOW)
        assert (sent(first), sent(second)) == ([0], [2, 3])
        group.ack(ids(0), NOW)
        assert (sent(first), sent(second)) == ([1], [])

    def test_others_take_over_when_one_leaves(self, strategy: str) -> None:
        group = new_group(named_consumer_strategy=strategy)
        first, second = connect(group, slots=1000), connect(group, slots=1000)
        _read_pinned(group, 300)
        group.disconnect(first, NOW)
        assert len(second.in_flight) == 300

    def test_a_new_subscriber_gets_its_share(self, strategy: str) -> None:
        group = new_group(named_consumer_strategy=strategy)
        first = connect(group, slots=1000)
        _read_pinned(group, 300)
        group.ack(list(group.in_flight), NOW)
        second = connect(group, slots=1000)
        _read_pinned(group, 300)
        assert len(_pins(first)) == len(_pins(second)) == 15

    def test_it_gets_pins_without_messages_in_flight_first(self, strategy: str) -> None:
        group = new_group(named_consumer_strategy=strategy)
        first = connect(group)
        group.read([new_message(0, "a"), new_message(1, "b")], 1, NOW)
        group.ack(ids(1), NOW)
        second = connect(group)
        group.read([new_message(2, "a"), new_message(3, "b")], 3, NOW)
        assert (_pins(first), _pins(second)) == ({"a"}, {"b"})


def test_every_strategy_works_without_subscribers() -> None:
    for name in STRATEGIES:
        group = new_group(named_consumer_strategy=name)
        read(group, 0)
        subscriber = connect(group)
        assert sent(subscriber) == [0]
        group.disconnect(subscriber, NOW)
        assert group.waiting.retry_count == 1


def _read_pinned(group: Group, count: int) -> None:
    """Read messages with 30 pins, each of which has a bucket of its own."""
    group.read([new_message(n, pin=f"p{n % 30}") for n in range(count)], count, NOW)


def _pins(subscriber: Subscriber) -> set[str]:
    return {delivery.message.pin for delivery in subscriber.in_flight}
