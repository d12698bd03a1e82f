"""A cluster whose leader hangs, dies, is cut off or deposed, while threads append."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from esdbclient import EventStoreDBClient, NewEvent, StreamState
from esdbclient.exceptions import (
    DeadlineExceeded,
    EventStoreDBClientException,
    LeaderNotFound,
    WrongCurrentVersion,
)

from lepret.common.event_store_connection import SharedClient
from tests.support.clusters import ANSWERED, STUCK, UNANSWERED, Cluster, running_cluster
from tests.support.event_store import EmbeddedEventStore, running_embedded_event_store
from tests.support.processes import PATIENCE, wait_until

# As the application's calls.
CALL_SECONDS = 5.0
THREADS = 4


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EmbeddedEventStore]:
    with running_embedded_event_store(tmp_path / "events") as store:
        yield store


@pytest.fixture
def cluster(store: EmbeddedEventStore, tmp_path: Path) -> Iterator[Cluster]:
    with running_cluster(store, tmp_path) as cluster:
        yield cluster


@pytest.fixture
def client(cluster: Cluster) -> Iterator[SharedClient]:
    with closing(SharedClient(cluster.uri)) as client:
        yield client


@dataclass
class Load:
    """What threads have appended so far, and which calls failed."""

    client: SharedClient
    acknowledged: dict[str, list[UUID]] = field(default_factory=dict)
    failures: Counter[str] = field(default_factory=Counter)
    longest: float = 0.0
    is_over: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        while not self.is_over.is_set():
            events = [NewEvent(type="Happened", data=b"{}") for _ in range(2)]
            stream, began = f"stream-{uuid4()}", time.monotonic()
            try:
                append(self.client, events, stream=stream)
            except EventStoreDBClientException as error:
                self.failures[type(error).__name__] += 1
            else:
                self.acknowledged[stream] = [each.id for each in events]
            self.longest = max(self.longest, time.monotonic() - began)

    def wait_for_more(self) -> None:
        """Wait until appends succeed (again)."""
        before = len(self.acknowledged)
        wait_until(lambda: len(self.acknowledged) > before + 20, what="appends succeed")


@contextmanager
def load(client: SharedClient, store: EmbeddedEventStore) -> Iterator[Load]:
    """Append while the block runs; at its end, nothing may be lost, and nothing there twice."""
    load = Load(client)
    with ThreadPoolExecutor(THREADS) as threads:
        running = [threads.submit(load.run) for _ in range(THREADS)]
        try:
            load.wait_for_more()
            yield load
        finally:
            load.is_over.set()
        for each in running:
            each.result(PATIENCE)
    with closing(EventStoreDBClient(store.uri)) as reader:
        recorded = [(event.stream_name, event.id) for event in reader.read_all()]
    assert len(set(recorded)) == len(recorded)
    sent = {(stream, id_) for stream, ids in load.acknowledged.items() for id_ in ids}
    assert sent <= set(recorded)
    # No call may wait longer than it was told to; the machine may be busy.
    assert load.longest < 2 * CALL_SECONDS


def append(
    client: SharedClient,
    events: list[NewEvent],
    *,
    stream: str = "",
    timeout: float = CALL_SECONDS,
) -> int:
    return client.append_to_stream(
        stream or f"stream-{uuid4()}",
        current_version=StreamState.NO_STREAM,
        events=events,
        timeout=timeout,
    )


def event() -> NewEvent:
    return NewEvent(type="Happened", data=b"{}")


class TestALeader:
    def test_that_hangs_is_left_for_the_next_one(
        self, cluster: Cluster, client: SharedClient, store: EmbeddedEventStore
    ) -> None:
        with load(client, store) as appends:
            cluster.nodes[0].freeze()
            # For a while the others take it for a leader that lives.
            time.sleep(CALL_SECONDS / 2)
            cluster.elect(1, dead=[0], among=[1, 2])
            appends.wait_for_more()
            assert client.connection_target == cluster.nodes[1].target
            # It wakes up, and does not know yet what has happened.
            cluster.nodes[0].thaw()
            appends.wait_for_more()
            assert client.connection_target == cluster.nodes[1].target

    def test_that_hangs_between_calls_is_left_as_soon(
        self, cluster: Cluster, client: SharedClient
    ) -> None:
        append(client, [event()])
        cluster.nodes[0].freeze()
        cluster.elect(2, dead=[0], among=[1, 2])
        assert client.get_commit_position(timeout=CALL_SECONDS) > 0

    def test_that_is_killed_costs_no_call(
        self, cluster: Cluster, client: SharedClient, store: EmbeddedEventStore
    ) -> None:
        with load(client, store) as appends:
            cluster.nodes[0].kill()
            cluster.elect(1, dead=[0], among=[1, 2])
            appends.wait_for_more()
            # It is replaced, and leads again.
            cluster.nodes[0].restart()
            cluster.elect(0)
            appends.wait_for_more()
            wait_until(lambda: client.connection_target == cluster.nodes[0].target)
        assert not appends.failures

    def test_that_is_cut_off_is_left_though_it_says_that_it_leads(
        self, cluster: Cluster, client: SharedClient, store: EmbeddedEventStore
    ) -> None:
        with load(client, store) as appends:
            cluster.nodes[0].treat_appends(STUCK)
            cluster.elect(0, dead=[1, 2], among=[0])
            cluster.elect(1, dead=[0], among=[1, 2])
            appends.wait_for_more()
            assert client.connection_target == cluster.nodes[1].target

    def test_that_never_answers_is_left_for_the_only_other_one(
        self, cluster: Cluster, client: SharedClient
    ) -> None:
        """Each says that it leads, so that no majority agrees on either."""
        append(client, [event()])
        cluster.nodes[2].kill()
        cluster.nodes[0].treat_appends(STUCK)
        cluster.elect(0, dead=[1, 2], among=[0])
        cluster.elect(1, dead=[0, 2], among=[1])
        assert append(client, [event()]) > 0
        assert client.connection_target == cluster.nodes[1].target

    def test_that_is_deposed_has_its_subscriptions_ended(
        self, cluster: Cluster, client: SharedClient
    ) -> None:
        subscription = client.subscribe_to_all()
        cluster.elect(1)
        # The old one does not say so: nothing fails, and nothing arrives any more.
        cluster.elect(0, among=[0])

        def is_left() -> bool:
            client.get_commit_position(timeout=CALL_SECONDS)
            return client.connection_target == cluster.nodes[1].target

        wait_until(is_left)
        assert not list(subscription)

    def test_that_stops_for_an_upgrade_as_do_the_others_costs_no_call(
        self, cluster: Cluster, client: SharedClient, store: EmbeddedEventStore
    ) -> None:
        with load(client, store) as appends:
            for number, node in enumerate(cluster.nodes):
                next_one = (number + 1) % len(cluster.nodes)
                others = [each for each in range(len(cluster.nodes)) if each != number]
                node.stop()
                cluster.elect(next_one, dead=[number], among=others)
                node.restart()
                cluster.elect(next_one)
                appends.wait_for_more()
        assert not appends.failures


class TestANewClient:
    def test_does_not_wait_for_a_node_that_hangs(self, cluster: Cluster) -> None:
        cluster.nodes[0].freeze()
        cluster.elect(2, dead=[0], among=[1, 2])
        with closing(SharedClient(cluster.uri)) as client:
            # Less than esdbclient waits for the first node alone.
            client.get_commit_position(timeout=CALL_SECONDS * 0.8)

    @pytest.mark.parametrize("first", [0, 1, 2])
    def test_is_told_of_nodes_that_the_uri_does_not_name(
        self, cluster: Cluster, first: int
    ) -> None:
        uri = f"esdb+discover://{cluster.nodes[first].target}?tls=false"
        with closing(SharedClient(uri)) as client:
            append(client, [event()])
            assert client.connection_target == cluster.nodes[0].target
            # From then on it needs the named one no more.
            cluster.nodes[0].kill()
            cluster.nodes[first].kill()
            left = ({1, 2} - {first}).pop()
            cluster.elect(left, dead=[0], among=[left])
            append(client, [event()])
            assert client.connection_target == cluster.nodes[left].target

    def test_does_not_count_a_leader_that_is_gone(self, cluster: Cluster) -> None:
        cluster.nodes[0].kill()
        cluster.elect(1, dead=[0], among=[1, 2])
        with closing(SharedClient(cluster.uri)) as client:
            append(client, [event()])

    def test_waits_for_a_leader_as_long_as_its_caller_has_time(self, cluster: Cluster) -> None:
        cluster.elect(None)
        with closing(SharedClient(cluster.uri)) as client:
            began = time.monotonic()
            with pytest.raises(LeaderNotFound):
                client.get_commit_position(timeout=1.0)
            assert time.monotonic() - began < CALL_SECONDS
            elected = threading.Timer(0.5, cluster.elect, [1])
            elected.start()
            client.get_commit_position(timeout=PATIENCE)
            elected.join()
            assert client.connection_target == cluster.nodes[1].target

    def test_keeps_nobody_waiting_who_has_less_time(self, cluster: Cluster) -> None:
        cluster.elect(None)
        with closing(SharedClient(cluster.uri)) as client, ThreadPoolExecutor(1) as threads:
            patient = threads.submit(client.get_commit_position, timeout=CALL_SECONDS * 2)
            began = time.monotonic()
            with pytest.raises(LeaderNotFound):
                client.get_commit_position(timeout=0.2)
            assert time.monotonic() - began < CALL_SECONDS
            cluster.elect(1)
            patient.result(PATIENCE)


class TestAnAppendThatIsNotAnswered:
    @pytest.fixture
    def node(self, cluster: Cluster) -> Iterator[SharedClient]:
        """A client of the first node alone, as of a store that is no cluster."""
        with closing(SharedClient(f"esdb://{cluster.nodes[0].target}?tls=false")) as client:
            append(client, [event()])
            yield client

    @pytest.mark.parametrize("count", [1, 3])
    @pytest.mark.parametrize("version", [StreamState.NO_STREAM, StreamState.ANY, 1])
    def test_but_recorded_has_succeeded(
        self, cluster: Cluster, node: SharedClient, count: int, version: StreamState | int
    ) -> None:
        if isinstance(version, int):
            append(node, [event(), event()], stream="a")
        cluster.nodes[0].treat_appends(UNANSWERED)
        sent = [event() for _ in range(count)]
        position = node.append_to_stream(
            "a",
            current_version=version,
            events=sent[0] if count == 1 else iter(sent),
            timeout=CALL_SECONDS,
        )
        *_, last = stream = node.get_stream("a", timeout=PATIENCE)
        assert [each.id for each in stream][-count:] == [each.id for each in sent]
        assert position == last.commit_position

    def test_nor_recorded_has_failed_in_time(self, cluster: Cluster, node: SharedClient) -> None:
        cluster.nodes[0].treat_appends(STUCK)
        began = time.monotonic()
        with pytest.raises(DeadlineExceeded):
            append(node, [event()], timeout=2.0)
        assert time.monotonic() - began < 2 * 2.0

    def test_at_first_is_sent_again(self, cluster: Cluster, node: SharedClient) -> None:
        cluster.nodes[0].treat_appends(STUCK)
        answered = threading.Timer(1.0, cluster.nodes[0].treat_appends, [ANSWERED])
        answered.start()
        append(node, [event()], timeout=CALL_SECONDS)
        answered.join()

    def test_and_of_which_others_are_recorded_has_failed(
        self, cluster: Cluster, node: SharedClient
    ) -> None:
        append(node, [event()], stream="a")
        cluster.nodes[0].treat_appends(UNANSWERED)
        with pytest.raises((DeadlineExceeded, WrongCurrentVersion)):
            append(node, [event()], stream="a", timeout=2.0)
        assert len(node.get_stream("a", timeout=PATIENCE)) == 1
