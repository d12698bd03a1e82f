"""Threads that share a client of the event store, while its connection breaks."""

from __future__ import annotations

import gc
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from uuid import uuid4

import pytest
from esdbclient import NewEvent, StreamState
from esdbclient.connection import ESDBConnection
from esdbclient.exceptions import (
    DeadlineExceeded,
    EventStoreDBClientException,
    NotFound,
    ServiceUnavailable,
)

from lepret.common.event_store_connection import FilesUnreadable, ReadCutOff, SharedClient
from lepret.common.other_clocks import OtherClock
from tests.support.event_store import RunningEventStore, running_event_store
from tests.support.processes import PATIENCE, wait_until

READERS = 8
MOST_TRIES = 3


@pytest.fixture
def store(tmp_path: Path) -> Iterator[RunningEventStore]:
    with running_event_store(tmp_path / "events") as store:
        yield store


@contextmanager
def client_of(
    store: RunningEventStore, seconds_until_closed: float = 15.0
) -> Iterator[SharedClient]:
    with closing(SharedClient(store.uri, seconds_until_closed=seconds_until_closed)) as client:
        yield client


def append(client: SharedClient, count: int, size: int = 2) -> str:
    stream = f"stream-{uuid4()}"
    events = [NewEvent(type="Happened", data=b"x" * size) for _ in range(count)]
    client.append_to_stream(
        stream, current_version=StreamState.NO_STREAM, events=events, timeout=PATIENCE
    )
    return stream


def test_while_the_store_restarts_a_stream_is_read_whole_or_not_at_all(
    store: RunningEventStore,
) -> None:
    with client_of(store) as client:
        stream = append(client, 3)
        outcomes: Counter[object] = Counter()
        is_over = threading.Event()

        def read() -> None:
            while not is_over.is_set():
                try:
                    outcomes[len(client.get_stream(stream, timeout=5))] += 1
                except NotFound:
                    outcomes["not found"] += 1
                except EventStoreDBClientException:
                    pass

        with ThreadPoolExecutor(READERS) as threads:
            readers = [threads.submit(read) for _ in range(READERS)]
            try:
                for _ in range(4):
                    before = outcomes[3]
                    wait_until(lambda: outcomes[3] > before + 100)  # noqa: B023
                    store.crash()
            finally:
                is_over.set()
            for each in readers:
                each.result(PATIENCE)
    assert set(outcomes) == {3}


def test_a_read_goes_on_when_another_call_replaces_its_connection(
    store: RunningEventStore,
) -> None:
    with client_of(store) as client:
        for _ in range(50):
            append(client, 1, size=100_000)
        events = client.read_all(timeout=PATIENCE)
        next(events)
        client.reconnect()
        assert len(list(events)) == 49


def test_a_read_that_is_cut_off_is_no_whole_one(store: RunningEventStore) -> None:
    with client_of(store, seconds_until_closed=0) as client:
        for _ in range(50):
            append(client, 1, size=100_000)
        events = client.read_all(timeout=PATIENCE)
        next(events)
        client.reconnect()
        wait_until(lambda: client.connections_left == 0)
        with pytest.raises(ReadCutOff):
            list(events)


def test_a_uri_that_cannot_be_used_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    left: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", left.append)
    for query in ("?tls=maybe", "?tlsCaFile=/no/such.crt"):
        with pytest.raises((ValueError, FilesUnreadable)):
            SharedClient(f"esdb://me:secret@127.0.0.1:1{query}")
        gc.collect()
    assert left == []


class Unlucky(SharedClient):
    """Other threads close each connection right before it is used."""

    def find_leader(self, *, within: float | None) -> ESDBConnection:
        connection = super().find_leader(within=within)
        connection.close()
        return connection


def test_connections_that_others_have_closed_are_an_outage(store: RunningEventStore) -> None:
    with closing(Unlucky(store.uri)) as client, pytest.raises(ServiceUnavailable):
        client.get_stream("any", timeout=PATIENCE)


def test_a_connection_that_never_worked_is_closed_at_once(store: RunningEventStore) -> None:
    with client_of(store) as client:
        store.stop()
        for _ in range(5):
            with pytest.raises(EventStoreDBClientException):
                client.get_commit_position(timeout=5)
        assert client.connections_left == 0


@pytest.mark.parametrize(
    "call",
    [
        lambda client: client.get_stream("a", timeout=3),
        lambda client: client.get_streams({"stream_name": "a"}, {"stream_name": "b"}, timeout=3),
        lambda client: client.get_commit_position(timeout=3),
        lambda client: client.append_to_stream(
            "a", current_version=StreamState.ANY, events=NewEvent(type="A", data=b""), timeout=3
        ),
    ],
    ids=["a stream", "several streams", "the end", "an append"],
)
def test_a_store_that_hangs_is_asked_once_within_the_time(
    call: Callable[[SharedClient], object],
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as hanging:
        port = hanging.getsockname()[1]
        with closing(SharedClient(f"esdb://127.0.0.1:{port}?tls=false")) as client:
            began = time.monotonic()
            with pytest.raises(DeadlineExceeded):
                call(client)
            assert time.monotonic() - began < 2 * 3


def test_who_reads_slowly_hears_that_pings_are_answered(store: RunningEventStore) -> None:
    # The next messages have long been received, so that reading them does not wait for any.
    uri = f"{store.uri}&keepAliveInterval=200&keepAliveTimeout=3000"
    with closing(SharedClient(uri)) as client:
        for _ in range(4):
            append(client, 1_000, size=300)
        for _ in range(MOST_TRIES):  # The machine may be too busy to answer.
            with client.subscribe_to_all() as events, suppress(ServiceUnavailable):
                for _ in islice(events, 4_000):
                    time.sleep(0.0015)
                stream = append(client, 1)
                assert any(event.stream_name == stream for event in events)
                return
    pytest.fail("The connection was lost each time.")


@pytest.mark.parametrize("days", [-1, 0, 1])
def test_the_stores_time_is_known_whatever_our_own_clock_says(
    store: RunningEventStore, days: int
) -> None:
    def right() -> datetime:
        return datetime.now(UTC)

    wrong = OtherClock(clock=lambda: right() + timedelta(days=days))
    with closing(SharedClient(store.uri, clock=wrong)) as client:
        assert not wrong.is_fresh
        assert abs(client.store_time(timeout=PATIENCE) - right()) < timedelta(seconds=PATIENCE)
        assert wrong.is_fresh
