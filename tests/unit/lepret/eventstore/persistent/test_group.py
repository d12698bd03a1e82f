"""A persistent subscription's group: deliveries, answers, timeouts and checkpoints."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from lepret.eventstore.persistent.group import BUFFER_BYTES, Group, Nack
from lepret.eventstore.persistent.message import Message
from lepret.eventstore.persistent.subscriber import OUTBOX_BYTES, Subscriber
from tests.unit.lepret.eventstore.persistent.groups import (
    NOW,
    Parking,
    connect,
    ids,
    new_group,
    new_message,
    read,
    retries,
    sent,
)


class TestHandingOut:
    def test_a_subscriber_gets_what_was_read_before_and_after_it_came(self) -> None:
        group = new_group()
        read(group, 0, 1)
        subscriber = connect(group)
        read(group, 2)
        assert sent(subscriber) == [0, 1, 2]

    def test_no_more_is_in_flight_than_a_subscriber_has_slots(self) -> None:
        group = new_group()
        subscriber = connect(group, slots=2)
        read(group, 0, 1, 2, 3)
        assert sent(subscriber) == [0, 1]
        group.ack(ids(0), NOW)
        assert sent(subscriber) == [2]

    def test_a_second_message_of_the_same_id_waits_for_the_first(self) -> None:
        group = new_group()
        subscriber = connect(group)
        twin = new_message(1)
        twin.id = new_message(0).id
        group.read([new_message(0), twin, new_message(2)], 2, NOW)
        assert sent(subscriber) == [0, 2]
        group.ack([twin.id], NOW)
        assert sent(subscriber) == [1]

    def test_the_group_is_full_at_the_maximum(self) -> None:
        group = new_group(max_subscriber_count=2)
        first = connect(group)
        assert not group.is_full
        connect(group)
        assert group.is_full
        group.disconnect(first, NOW)
        assert not group.is_full

    def test_a_maximum_of_0_means_no_maximum(self) -> None:
        group = new_group(max_subscriber_count=0)
        connect(group)
        assert not group.is_full

    def test_events_leave_memory_once_sent(self) -> None:
        group = new_group()
        (message,) = read(group, 0)
        subscriber = connect(group)
        assert subscriber.next_unsent() == (group.in_flight[message.id], b"xx")
        assert message.size == 0

    def test_a_slow_subscribers_events_leave_memory_as_well(self) -> None:
        group = new_group()
        subscriber = connect(group)
        large = [new_message(n, size=OUTBOX_BYTES // 2) for n in range(5)]
        group.read(large, 4, NOW)
        assert sum(message.size for message in large) <= 1.5 * OUTBOX_BYTES
        assert sent(subscriber) == [0, 1, 2, 3, 4]


class TestRoom:
    def test_none_when_the_buffer_is_full(self) -> None:
        group = new_group(history_buffer_size=10, read_batch_size=5)
        assert group.read_at_once == 5
        read(group, *range(6))
        assert not group.wants_more
        connect(group, slots=1)
        assert group.wants_more

    def test_none_while_large_events_wait(self) -> None:
        group = new_group()
        group.read([new_message(0, size=BUFFER_BYTES)], 0, NOW)
        assert not group.wants_more
        connect(group)
        assert group.wants_more

    @given(st.integers(0, 600), st.integers(1, 600))
    def test_a_new_group_has_some(self, batch: int, buffer: int) -> None:
        assert new_group(read_batch_size=batch, history_buffer_size=buffer).wants_more


class TestNacks:
    def test_retried_before_new_messages(self) -> None:
        group = new_group()
        subscriber = connect(group, slots=2)
        read(group, 0, 1, 2)
        sent(subscriber)
        group.nack(ids(0), Nack.RETRY, "", NOW)
        assert sent(subscriber) == [0]

    def test_retries_are_counted(self) -> None:
        group = new_group()
        subscriber = connect(group)
        read(group, 0)
        assert retries(subscriber) == [0]
        group.nack(ids(0), Nack.RETRY, "", NOW)
        assert retries(subscriber) == [1]

    def test_parked_after_the_maximum_of_retries(self) -> None:
        parking: Parking = []
        group = new_group(parking, max_retry_count=2)
        connect(group)
        (message,) = read(group, 0)
        for _ in range(3):
            assert not parking
            group.nack(ids(0), Nack.RETRY, "", NOW)
        assert parking == [(message, "Reached retry count of 2")]

    def test_parked_at_once_on_request(self) -> None:
        parking: Parking = []
        group = new_group(parking)
        connect(group)
        (message,) = read(group, 0)
        group.nack(ids(0), Nack.PARK, "it hurts", NOW)
        assert parking == [(message, "Client explicitly NAK'ed message.\nit hurts")]

    def test_a_skipped_message_is_done(self) -> None:
        parking: Parking = []
        group = new_group(parking)
        subscriber = connect(group)
        read(group, 0)
        sent(subscriber)
        group.nack(ids(0), Nack.SKIP, "", NOW)
        assert (sent(subscriber), group.done_to, parking) == ([], 0, [])

    def test_a_message_that_could_not_be_parked_is_retried(self) -> None:
        parking: Parking = []
        group = new_group(parking)
        subscriber = connect(group)
        (message,) = read(group, 0)
        sent(subscriber)
        group.nack(ids(0), Nack.PARK, "", NOW)
        group.not_parked(message, NOW)
        assert sent(subscriber) == [0]

    @pytest.mark.parametrize("nack", Nack)
    def test_ignored_if_the_message_is_not_in_flight(self, nack: Nack) -> None:
        parking: Parking = []
        group = new_group(parking)
        read(group, 0)
        group.nack(ids(0, 7), nack, "", NOW)
        group.ack(ids(0, 7), NOW)
        assert (group.waiting.new_count, group.done_to, parking) == (1, -1, [])


class TestTimeouts:
    def test_a_message_that_times_out_is_retried(self) -> None:
        group = new_group(message_timeout=1000)
        slow = connect(group)
        read(group, 0)
        group.tick(NOW + 0.9)
        assert retries(slow) == [0]
        group.tick(NOW + 1)
        assert retries(slow) == [1]

    def test_late_answers_are_ignored(self) -> None:
        group = new_group(message_timeout=1000)
        subscriber = connect(group, slots=1)
        read(group, 0, 1)
        other = connect(group, slots=1)
        group.tick(NOW + 1)
        group.disconnect(subscriber, NOW)
        group.disconnect(other, NOW)
        group.ack(ids(0, 1), NOW)
        assert group.waiting.retry_count == 2

    def test_an_unsent_message_that_times_out_is_sent_once(self) -> None:
        group = new_group(message_timeout=1000)
        slow = connect(group)
        read(group, 0)
        group.tick(NOW + 1)
        assert retries(slow) == [1]

    def test_others_get_the_messages_of_a_subscriber_that_left(self) -> None:
        group = new_group()
        leaving = connect(group)
        read(group, 0, 1)
        other = connect(group)
        read(group, 2)
        group.disconnect(leaving, NOW)
        assert sent(other) == [0, 1, 2]


class TestReplay:
    def test_parked_messages_come_after_retries_and_before_new_ones(self) -> None:
        group = new_group()
        subscriber = connect(group, slots=1)
        read(group, 0, 1)
        group.replay([new_message(5, replayed=True)], 6, NOW)
        order = sent(subscriber)
        group.nack(ids(0), Nack.RETRY, "", NOW)
        while numbers := sent(subscriber):
            order += numbers
            group.ack(list(group.in_flight), NOW)
        assert order == [0, 0, 5, 1]

    def test_parked_messages_are_kept_until_they_are_done(self) -> None:
        parking: Parking = []
        group = new_group(parking)
        subscriber = connect(group)
        first, second = new_message(3, replayed=True), new_message(4, replayed=True)
        group.replay([first, second], 5, NOW)
        assert group.replayed_to == 3
        group.ack([first.id], NOW)
        assert group.replayed_to == 4
        group.nack([second.id], Nack.PARK, "", NOW)
        assert group.replayed_to == 4
        group.parked(second)
        assert group.replayed_to == 5
        assert not subscriber.in_flight

    def test_replays_do_not_hold_up_checkpoints(self) -> None:
        group = new_group()
        connect(group)
        read(group, 0)
        group.replay([new_message(0, replayed=True)], 1, NOW)
        group.ack(ids(0), NOW)
        assert group.done_to == 0


class TestCheckpoints:
    def test_never_beyond_a_message_that_is_not_done(self) -> None:
        parking: Parking = []
        group = new_group(parking)
        connect(group, slots=5)
        messages = read(group, *range(7))
        group.ack(ids(1, 2), NOW)
        assert group.done_to == -1
        group.ack(ids(0), NOW)
        assert group.done_to == 2
        group.nack(ids(3), Nack.PARK, "", NOW)
        group.ack(ids(4, 5, 6), NOW)
        assert group.done_to == 2
        group.parked(messages[3])
        assert group.done_to == 6

    def test_events_that_were_filtered_out_are_done(self) -> None:
        group = new_group()
        group.read([], 41, NOW)
        assert group.done_to == 41

    def test_due_at_the_maximum_count_at_once(self) -> None:
        group = _with_progress(3, max_check_point_count=3)
        assert group.due_checkpoint(NOW, timed=False) == 2
        group.checkpointed(2, NOW)
        assert group.due_checkpoint(NOW, timed=False) is None

    def test_due_at_the_minimum_count_from_time_to_time(self) -> None:
        group = _with_progress(3, min_check_point_count=3)
        assert group.due_checkpoint(NOW, timed=False) is None
        assert group.due_checkpoint(NOW, timed=True) == 2

    def test_not_due_below_the_minimum_count(self) -> None:
        group = _with_progress(2, min_check_point_count=3)
        assert group.due_checkpoint(NOW, timed=True) is None
        assert group.last_checkpoint() == 1

    def test_not_due_before_its_time(self) -> None:
        group = _with_progress(3, min_check_point_count=1, check_point_after=2000)
        group.checkpointed(0, NOW)
        assert group.due_checkpoint(NOW + 1.9, timed=True) is None
        assert group.due_checkpoint(NOW + 2, timed=True) == 2

    def test_without_a_time_only_the_maximum_count_counts(self) -> None:
        group = _with_progress(5, min_check_point_count=1, check_point_after=0)
        assert group.due_checkpoint(NOW + 100, timed=True) is None

    def test_none_without_progress(self) -> None:
        group = new_group(min_check_point_count=0, max_check_point_count=0)
        read(group, 0)
        assert group.due_checkpoint(NOW, timed=True) is None
        assert group.last_checkpoint() is None


def _with_progress(count: int, **changes: int) -> Group:
    group = new_group(None, **changes)
    connect(group)
    read(group, *range(count))
    group.ack(ids(*range(count)), NOW)
    return group


class Machine(RuleBasedStateMachine):
    """In any order of operations, no message is lost and none has two subscribers."""

    def __init__(self) -> None:
        super().__init__()
        self.parking: Parking = []
        self.group = new_group(self.parking, max_retry_count=2, message_timeout=1000)
        self.subscribers: list[Subscriber] = []
        self.unfinished: dict[int, Message] = {}
        self.read_to = -1
        self.now = NOW

    @rule(count=st.integers(1, 4))
    def read(self, count: int) -> None:
        messages = [new_message(self.read_to + 1 + n) for n in range(count)]
        self.read_to += count
        self.unfinished |= {message.number: message for message in messages}
        self.group.read(messages, self.read_to, self.now)

    @rule(slots=st.integers(1, 3))
    def connect(self, slots: int) -> None:
        self.subscribers.append(connect(self.group, slots))

    @precondition(lambda self: self.subscribers)
    @rule(data=st.data())
    def disconnect(self, data: st.DataObject) -> None:
        subscriber = data.draw(st.sampled_from(self.subscribers))
        self.subscribers.remove(subscriber)
        self.group.disconnect(subscriber, self.now)

    @precondition(lambda self: self.group.in_flight)
    @rule(data=st.data(), nack=st.sampled_from([None, *Nack]))
    def answer(self, data: st.DataObject, nack: Nack | None) -> None:
        message_id = data.draw(st.sampled_from(sorted(self.group.in_flight)))
        number = self.group.in_flight[message_id].message.number
        if nack is None:
            self.group.ack([message_id], self.now)
        else:
            self.group.nack([message_id], nack, "", self.now)
        if nack in {None, Nack.SKIP}:
            del self.unfinished[number]

    @precondition(lambda self: self.parking)
    @rule(works=st.booleans())
    def park(self, works: bool) -> None:
        message, _ = self.parking.pop()
        if works:
            self.group.parked(message)
            del self.unfinished[message.number]
        else:
            self.group.not_parked(message, self.now)

    @rule(seconds=st.sampled_from([0.4, 1.0]))
    def tick(self, seconds: float) -> None:
        self.now += seconds
        self.group.tick(self.now)

    @invariant()
    def every_message_is_in_one_place(self) -> None:
        waiting = [message.number for message in self._waiting()]
        in_flight = [d.message.number for s in self.subscribers for d in s.in_flight]
        parking = [message.number for message, _ in self.parking]
        assert sorted(waiting + in_flight + parking) == sorted(self.unfinished)

    @invariant()
    def nothing_waits_while_there_is_a_free_slot(self) -> None:
        free = sum(subscriber.free_slots for subscriber in self.subscribers)
        assert free == 0 or len(self.group.waiting) == 0

    @invariant()
    def progress_ends_before_what_is_unfinished(self) -> None:
        lowest = min(self.unfinished, default=self.read_to + 1)
        assert self.group.done_to == lowest - 1

    @invariant()
    def no_subscriber_exceeds_its_slots(self) -> None:
        assert all(subscriber.free_slots >= 0 for subscriber in self.subscribers)

    @invariant()
    def the_size_is_right(self) -> None:
        assert self.group.waiting.size == sum(message.size for message in self._waiting())

    def _waiting(self) -> list[Message]:
        offered: list[Message] = []

        def refuse(message: Message) -> bool:
            offered.append(message)
            return False

        self.group.waiting.hand_out(refuse, go_on=lambda: True)
        return offered


TestAnyOrder = Machine.TestCase
TestAnyOrder.settings = settings(max_examples=60, stateful_step_count=40)
