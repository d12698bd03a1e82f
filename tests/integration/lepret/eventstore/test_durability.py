"""After a power cut, all acknowledged appends are in the log: complete, once, without gaps."""

from __future__ import annotations

import socket
import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from lepret.eventstore.wire.http2.frames import PREFACE
from tests.integration.lepret.eventstore.conftest import Connect
from tests.integration.lepret.eventstore.events import append, new_events, new_stream
from tests.integration.lepret.eventstore.writers import writers
from tests.support.event_store import EmbeddedEventStore
from tests.support.processes import wait_until

APPENDS_BETWEEN_KILLS = (1, 100, 10, 50, 0, 200, 20, 30, 5)
KILLS = 4 * len(APPENDS_BETWEEN_KILLS)

pytestmark = pytest.mark.flaky(reruns=0)


class TestKilled:
    """SIGKILL is like a power cut, but the operating system's page cache survives."""

    def test_dozens_of_times_under_four_writers(
        self, store: EmbeddedEventStore, connect: Connect
    ) -> None:
        with writers(store.port, 4) as writing:
            for kill in range(KILLS):
                writing.wait_for(APPENDS_BETWEEN_KILLS[kill % len(APPENDS_BETWEEN_KILLS)])
                store.crash()
            writing.wait_for(20)
        assert writing.unanswered > KILLS, "the kills did not come while appends were under way"
        writing.assert_the_log_holds_what_was_acknowledged(connect(store.uri))

    def test_it_restarts_at_once_while_clients_connect(
        self, store: EmbeddedEventStore, connect: Connect
    ) -> None:
        port = store.port
        with _connector(port) as connector:
            for _ in range(3):
                connector.wait_for(50)
                store.crash()
                assert store.port == port
        append(connect(store.uri), new_stream(), new_events(1))

    def test_positions_and_retries_go_on_where_they_were(
        self, store: EmbeddedEventStore, connect: Connect
    ) -> None:
        stream, events = new_stream(), new_events(2)
        first = append(connect(store.uri), stream, events)
        store.crash()
        client = connect(store.uri)
        assert append(client, stream, events) == first
        assert append(client, stream, new_events(1)) == first + 1


class _Connector:
    """Connects again and again, and keeps the last accepted connections open."""

    KEPT = 20

    def __init__(self, port: int, stop: threading.Event) -> None:
        self.accepted = 0
        self._port = port
        self._stop = stop

    def connect_repeatedly(self) -> None:
        kept: deque[socket.socket] = deque()
        while not self._stop.is_set():
            try:
                kept.append(self._connect())
            except OSError:
                self._stop.wait(0.001)
                continue
            self.accepted += 1
            if len(kept) > self.KEPT:
                kept.popleft().close()
        for connection in kept:
            connection.close()

    def _connect(self) -> socket.socket:
        """A connection on which the server has sent something. Raises OSError."""
        connection = socket.create_connection(("127.0.0.1", self._port), 1)
        try:
            connection.sendall(PREFACE)
            if connection.recv(1):
                return connection
        except OSError:
            connection.close()
            raise
        connection.close()
        raise ConnectionError

    def wait_for(self, connections: int) -> None:
        """Wait for ``connections`` more accepted connections."""
        target = self.accepted + connections
        wait_until(lambda: self.accepted >= target, every=0.001)


@contextmanager
def _connector(port: int) -> Iterator[_Connector]:
    stop = threading.Event()
    connector = _Connector(port, stop)
    with ThreadPoolExecutor(4) as threads:
        for _ in range(4):
            threads.submit(connector.connect_repeatedly)
        try:
            yield connector
        finally:
            stop.set()
