"""Groups and messages for unit tests of persistent subscriptions."""

from __future__ import annotations

from uuid import UUID

from lepret.eventstore.persistent.group import Group
from lepret.eventstore.persistent.message import Message
from lepret.eventstore.persistent.settings import GroupSettings
from lepret.eventstore.persistent.subscriber import Subscriber

NOW = 1000.0

Parking = list[tuple[Message, str]]
"""The messages that a group asked to park, with reasons."""


def new_settings(**changes: int | str) -> GroupSettings:
    """A client's default settings for a stream from its start."""
    defaults = {
        "stream": "s",
        "group": "g",
        "start_from": 0,
        "first_number": 0,
        "resolve_link_tos": False,
        "extra_statistics": False,
        "message_timeout": 30_000,
        "max_retry_count": 10,
        "check_point_after": 2000,
        "min_check_point_count": 10,
        "max_check_point_count": 1000,
        "max_subscriber_count": 5,
        "live_buffer_size": 500,
        "read_batch_size": 200,
        "history_buffer_size": 500,
        "named_consumer_strategy": "DispatchToSingle",
    }
    return GroupSettings.model_validate({**defaults, **changes})


def new_message(number: int, pin: str = "s", size: int = 2, *, replayed: bool = False) -> Message:
    return Message(
        id=UUID(int=number + 1000 * replayed),
        number=number,
        position=number,
        pin=pin,
        link=b"%d@s" % number,
        response=b"x" * size,
        replayed=replayed,
    )


def new_group(parking: Parking | None = None, **changes: int | str) -> Group:
    """A group that adds the messages to park to a list."""
    noted = [] if parking is None else parking
    return Group(new_settings(**changes), -1, lambda *parked: noted.append(parked))


def read(group: Group, *numbers: int) -> list[Message]:
    """Let the group read events with these numbers."""
    messages = [new_message(number) for number in numbers]
    group.read(messages, numbers[-1], NOW)
    return messages


def connect(group: Group, slots: int = 10) -> Subscriber:
    subscriber = Subscriber(slots, lambda: None)
    group.connect(subscriber, NOW)
    return subscriber


def sent(subscriber: Subscriber) -> list[int]:
    """Take the unsent deliveries: the numbers of their messages."""
    numbers = []
    while (unsent := subscriber.next_unsent()) is not None:
        numbers.append(unsent[0].message.number)
    return numbers


def retries(subscriber: Subscriber) -> list[int]:
    """Take the unsent deliveries: the retry counts of their messages."""
    counts = []
    while (unsent := subscriber.next_unsent()) is not None:
        counts.append(unsent[0].message.retries)
    return counts


def ids(*numbers: int) -> list[UUID]:
    return [UUID(int=number) for number in numbers]
