"""kurrentdbclient against the event store whose address (host:port) is the argument.

A program of its own, because kurrentdbclient and esdbclient cannot be in one process. It ends at
the first check that fails; the traceback has its name.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any
from uuid import uuid4

from kurrentdbclient import (
    AsyncKurrentDBClient,
    CaughtUp,
    Checkpoint,
    KurrentDBClient,
    NewEvent,
    StreamState,
)
from kurrentdbclient.exceptions import (
    AlreadyExistsError,
    MaximumAppendSizeExceededError,
    MaximumSubscriptionsReachedError,
    NotFoundError,
    StreamIsDeletedError,
    WrongCurrentVersionError,
)

WITHIN = 90.0
"""Seconds that any call may take; a subscription is a call."""

ANY = StreamState.ANY
NO_STREAM = StreamState.NO_STREAM


def check_appends_and_reads(client: KurrentDBClient) -> None:
    stream, events = new_stream(), new_events(3)
    first = append(client, stream, events, NO_STREAM)
    assert append(client, stream, events, NO_STREAM) == first
    found = client.get_stream(stream, timeout=WITHIN)
    assert [event.id for event in found] == [event.id for event in events]
    assert revisions(found) == [0, 1, 2]
    assert found[-1].commit_position == first
    assert abs(found[-1].recorded_at.timestamp() - time.time()) < 60
    backwards = client.get_stream(stream, backwards=True, limit=2, timeout=WITHIN)
    assert revisions(backwards) == [2, 1]


def check_refuses_appends(client: KurrentDBClient) -> None:
    stream = new_stream()
    append(client, stream, new_events(3))
    error = raises(WrongCurrentVersionError, lambda: append(client, stream, new_events(1), 7))
    assert (error.expected_version, error.actual_version) == (7, 2)
    large = NewEvent(type="Large", data=b"x" * (1024 * 1024 + 1))
    raises(MaximumAppendSizeExceededError, lambda: append(client, stream, [large]))
    raises(NotFoundError, lambda: client.get_stream(new_stream(), timeout=WITHIN))


def check_reads_all(client: KurrentDBClient) -> None:
    kind = new_type()
    position = append(client, new_stream(), new_events(2, kind))
    assert client.get_commit_position(timeout=WITHIN) == position
    forwards = client.read_all(filter_include=[kind], timeout=WITHIN)
    backwards = client.read_all(filter_include=[kind], backwards=True, timeout=WITHIN)
    assert [event.stream_position for event in forwards] == [0, 1]
    assert [event.stream_position for event in backwards] == [1, 0]


def check_subscribes_to_a_stream(client: KurrentDBClient) -> None:
    stream = new_stream()
    append(client, stream, new_events(3))
    with client.subscribe_to_stream(
        stream, stream_position=0, include_caught_up=True, timeout=WITHIN
    ) as subscription:
        assert revisions(take(subscription, 2)) == [1, 2]
        caught_up = next(subscription)
        assert isinstance(caught_up, CaughtUp)
        assert (caught_up.stream_position, caught_up.commit_position) == (2, 0)
        assert abs(datetime.now(UTC) - caught_up.recorded_at) < timedelta(minutes=1)
        append(client, stream, new_events(1))
        assert revisions(take(subscription, 1)) == [3]


def check_subscribes_to_all(client: KurrentDBClient) -> None:
    prefix, kind = new_stream(), new_type()
    with client.subscribe_to_all(
        filter_include=[prefix], filter_by_stream_name=True, filter_by_prefix=True, timeout=WITHIN
    ) as subscription:
        append(client, f"{prefix}-1", new_events(1))
        append(client, new_stream(), new_events(1))
        append(client, f"{prefix}-2", new_events(1))
        streams = [event.stream_name for event in take(subscription, 2)]
        assert streams == [f"{prefix}-1", f"{prefix}-2"]
    position = append(client, new_stream(), new_events(40))
    with client.subscribe_to_all(
        commit_position=position, include_caught_up=True, timeout=WITHIN
    ) as subscription:
        caught_up = next(subscription)
        assert isinstance(caught_up, CaughtUp)
        assert caught_up.stream_position == 0
        # A group on the server may have written a checkpoint since.
        assert caught_up.commit_position >= position
    with client.subscribe_to_all(
        filter_include=[kind],
        include_checkpoints=True,
        window_size=32,
        checkpoint_interval_multiplier=1,
        timeout=WITHIN,
    ) as subscription:
        assert isinstance(next(subscription), Checkpoint)


def check_keeps_metadata(client: KurrentDBClient) -> None:
    stream, metadata = new_stream(), {"$maxCount": 2, "owner": "python"}
    append(client, stream, new_events(3))
    client.set_stream_metadata(stream, metadata=metadata, timeout=WITHIN)
    assert client.get_stream_metadata(stream, timeout=WITHIN) == (metadata, 0)
    assert revisions(client.get_stream(stream, timeout=WITHIN)) == [1, 2]


def check_deletes(client: KurrentDBClient) -> None:
    stream = new_stream()
    append(client, stream, new_events(2))
    error = raises(WrongCurrentVersionError, lambda: delete(client, stream, 5))
    assert (error.expected_version, error.actual_version) == (5, 1)
    raises(NotFoundError, lambda: delete(client, new_stream(), 5))
    delete(client, stream, 1)
    raises(NotFoundError, lambda: client.get_stream(stream, timeout=WITHIN))
    append(client, stream, new_events(1), NO_STREAM)
    assert revisions(client.get_stream(stream, timeout=WITHIN)) == [2]


def check_tombstones(client: KurrentDBClient) -> None:
    stream = new_stream()
    append(client, stream, new_events(2))
    client.tombstone_stream(stream, current_version=1, timeout=WITHIN)
    raises(StreamIsDeletedError, lambda: client.get_stream(stream, timeout=WITHIN))
    raises(StreamIsDeletedError, lambda: append(client, stream, new_events(1)))
    raises(StreamIsDeletedError, lambda: delete(client, stream, ANY))


def check_persistent_subscription_to_a_stream(client: KurrentDBClient) -> None:
    stream, group = new_stream(), "group"
    append(client, stream, new_events(3))

    def create() -> None:
        client.create_subscription_to_stream(
            group, stream, max_subscriber_count=1, consumer_strategy="RoundRobin", timeout=WITHIN
        )

    create()
    raises(AlreadyExistsError, create)
    with client.read_subscription_to_stream(group, stream, timeout=WITHIN) as subscription:
        first, second, third = take(subscription, 3)
        assert revisions([first, second, third]) == [0, 1, 2]
        raises(
            MaximumSubscriptionsReachedError,
            lambda: client.read_subscription_to_stream(group, stream, timeout=WITHIN),
        )
        subscription.ack(first)
        subscription.ack(second)
        subscription.nack(third, action="park")
        until(lambda: info(client, group, stream).parked_message_count == 1)
        client.replay_parked_events(group, stream, timeout=WITHIN)
        (replayed,) = take(subscription, 1)
        assert replayed.id == third.id
        subscription.ack(replayed)
    listed = client.list_subscriptions_to_stream(stream, timeout=WITHIN)
    assert [(group.event_source, group.group_name) for group in listed] == [(stream, group)]
    client.delete_subscription(group, stream, timeout=WITHIN)
    raises(NotFoundError, lambda: info(client, group, stream))


def check_persistent_subscription_to_all(client: KurrentDBClient) -> None:
    group, kind = new_stream(), new_type()
    append(client, new_stream(), new_events(2, kind))
    client.create_subscription_to_all(group, filter_include=[kind], timeout=WITHIN)
    with client.read_subscription_to_all(group, timeout=WITHIN) as subscription:
        for event in take(subscription, 2):
            subscription.ack(event)
        append(client, new_stream(), new_events(1, kind))
        (live,) = take(subscription, 1)
        subscription.ack(live)
        assert live.type == kind
    assert info(client, group).event_source == "$all"
    client.delete_subscription(group, timeout=WITHIN)


def check_discovers(address: str) -> None:
    for scheme in ("esdb", "esdb+discover", "kurrentdb+discover"):
        with KurrentDBClient(f"{scheme}://{address}?tls=false") as client:
            append(client, new_stream(), new_events(1))


async def check_asyncio(address: str) -> None:
    stream, events = new_stream(), new_events(2)
    async with AsyncKurrentDBClient(f"kurrentdb+discover://{address}?tls=false") as client:
        await client.append_to_stream(stream, current_version=NO_STREAM, events=events)
        async with await client.subscribe_to_stream(stream, timeout=WITHIN) as subscription:
            received = [await anext(subscription) for _ in events]
    assert [event.id for event in received] == [event.id for event in events]


# Helpers --------------------------------------------------------------------------------


def new_stream() -> str:
    return f"Test:{uuid4()}"


def new_type() -> str:
    return f"T{uuid4().hex}"


def new_events(count: int, kind: str = "Tested") -> list[NewEvent]:
    return [NewEvent(type=kind, data=b'{"n": %d}' % n) for n in range(count)]


def append(client: KurrentDBClient, stream: str, events: list[NewEvent], version: Any = ANY) -> Any:
    return client.append_to_stream(stream, current_version=version, events=events, timeout=WITHIN)


def delete(client: KurrentDBClient, stream: str, version: Any) -> None:
    client.delete_stream(stream, current_version=version, timeout=WITHIN)


def info(client: KurrentDBClient, group: str, stream: str | None = None) -> Any:
    return client.get_subscription_info(group, stream, timeout=WITHIN)


def revisions(events: Any) -> list[int]:
    return [event.stream_position for event in events]


def take(subscription: Iterator[Any], count: int) -> list[Any]:
    return list(islice(subscription, count))


def raises(error_class: type[Exception], action: Callable[[], Any]) -> Any:
    try:
        action()
    except error_class as error:
        return error
    raise AssertionError(f"no {error_class.__name__} was raised")


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WITHIN
    while not condition():
        assert time.monotonic() < deadline, "it did not become true in time"
        time.sleep(0.02)


def main(address: str) -> None:
    with KurrentDBClient(f"kurrentdb://{address}?tls=false") as client:
        check_appends_and_reads(client)
        check_refuses_appends(client)
        check_reads_all(client)
        check_subscribes_to_a_stream(client)
        check_subscribes_to_all(client)
        check_keeps_metadata(client)
        check_deletes(client)
        check_tombstones(client)
        check_persistent_subscription_to_a_stream(client)
        check_persistent_subscription_to_all(client)
    check_discovers(address)
    asyncio.run(asyncio.wait_for(check_asyncio(address), WITHIN))


if __name__ == "__main__":
    main(sys.argv[1])
