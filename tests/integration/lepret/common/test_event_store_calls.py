"""What calls of the event store take, and what they leave behind in memory."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Final
from unittest.mock import patch
from uuid import uuid4

import pytest
from esdbclient import NewEvent, StreamState
from esdbclient.exceptions import NotFound, WrongCurrentVersion
from grpc._channel import _SingleThreadedRendezvous

from lepret.common.event_store_client import event_store_client
from lepret.common.event_store_connection import SharedClient
from tests.support.processes import PATIENCE, resident_bytes

CALLS: Final = 500
# Each of these calls left 18 to 25 kB, so that they left more than 9 MB together.
MOST_BYTES: Final = 3_000_000


@pytest.fixture
def client(streams: None) -> SharedClient:
    return event_store_client()


def new_stream() -> str:
    return f"test-{uuid4().hex}"


def append(client: SharedClient, stream: str, state: StreamState = StreamState.NO_STREAM) -> None:
    event = NewEvent(type="SomethingHappened", data=b"{}")
    client.append_to_stream(stream, current_version=state, events=[event], timeout=PATIENCE)


def append_in_vain(client: SharedClient) -> None:
    with suppress(WrongCurrentVersion):
        append(client, new_stream(), StreamState.EXISTS)


def read_none(client: SharedClient) -> None:
    with suppress(NotFound):
        client.get_stream(new_stream(), timeout=PATIENCE)


def read_the_first_only(client: SharedClient) -> None:
    with client.read_all(filter_exclude=(), timeout=PATIENCE) as events:
        next(events)


def subscribe(client: SharedClient) -> None:
    with client.subscribe_to_all(filter_exclude=(), timeout=PATIENCE) as events:
        next(events)


def subscribe_and_stop_elsewhere(client: SharedClient) -> None:
    subscription = client.subscribe_to_all(from_end=True, timeout=PATIENCE)
    reading = threading.Event()

    def read() -> None:
        reading.set()
        list(subscription)

    reader = threading.Thread(target=read)
    reader.start()
    reading.wait(PATIENCE)
    subscription.stop()
    reader.join(PATIENCE)
    assert not reader.is_alive()


WAYS: Final[dict[str, Callable[[SharedClient], None]]] = {
    "an append": lambda client: append(client, new_stream()),
    "an append that is refused": append_in_vain,
    "a read of a stream that is not there": read_none,
    "a read that is ended before its end": read_the_first_only,
    "a subscription": subscribe,
    "a subscription that another thread stops": subscribe_and_stop_elsewhere,
}


@pytest.mark.parametrize("call", WAYS.values(), ids=WAYS)
def test_leaves_nothing(client: SharedClient, call: Callable[[SharedClient], None]) -> None:
    append(client, new_stream())
    assert growth(lambda: call(client)) < MOST_BYTES


@pytest.mark.parametrize(
    "call",
    [lambda client: append(client, new_stream()), append_in_vain, read_none, read_the_first_only],
    ids=["an append", "an append that is refused", "a read of nothing", "a read of one event"],
)
def test_grpc_says_two_things_where_there_is_one_answer(
    client: SharedClient, call: Callable[[SharedClient], None]
) -> None:
    append(client, new_stream())
    consume = _SingleThreadedRendezvous._consume_next_event  # noqa: SLF001
    with patch.object(
        _SingleThreadedRendezvous, "_consume_next_event", autospec=True, side_effect=consume
    ) as consumed:
        call(client)
    # The answer, and how the call has ended. If it has ended by itself, both may come at once.
    assert consumed.call_count <= 2


def growth(call: Callable[[], None]) -> int:
    """By how many bytes this process grows with `CALLS` calls, once some were made."""
    for _ in range(CALLS // 5):
        call()
    before = resident_bytes(os.getpid())
    for _ in range(CALLS):
        call()
    return resident_bytes(os.getpid()) - before
