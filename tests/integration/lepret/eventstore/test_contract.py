"""What clients may rely on, with the embedded event store and with EventStoreDB."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from esdbclient import EventStoreDBClient, NewEvent, RecordedEvent
from esdbclient.exceptions import (
    GrpcError,
    MaximumAppendSizeExceededError,
    NotFound,
    WrongCurrentVersion,
)

from tests.integration.lepret.eventstore.conftest import Connect
from tests.integration.lepret.eventstore.events import (
    ANY,
    EXISTS,
    NO_STREAM,
    Expected,
    append,
    commit_position,
    new_events,
    new_stream,
    new_type,
)
from tests.support.processes import PATIENCE

SIZE_LIMIT = 1024 * 1024


@pytest.fixture(scope="module")
def long_stream(uri: str) -> str:
    """A stream of 1200 events, more than a page of either server."""
    client = EventStoreDBClient(uri)
    stream = new_stream()
    append(client, stream, new_events(1200))
    client.close()
    return stream


class TestAppending:
    def test_gives_events_revisions_from_zero_and_growing_positions(
        self, client: EventStoreDBClient
    ) -> None:
        stream = new_stream()
        last = append(client, stream, new_events(3), NO_STREAM)
        events = client.get_stream(stream)
        assert [event.stream_position for event in events] == [0, 1, 2]
        positions = [commit_position(event) for event in events]
        assert positions == sorted(set(positions))
        assert last == positions[-1]

    def test_keeps_all_of_an_event(self, client: EventStoreDBClient) -> None:
        stream = new_stream()
        before = datetime.now(UTC)
        event = NewEvent(
            type="Prüfung", data=b"\x00\xff", metadata=b'{"$correlationId": "1"}',
            content_type="application/octet-stream",
        )  # fmt: skip
        append(client, stream, [event])
        (read,) = client.get_stream(stream)
        assert (read.id, read.type, read.data) == (event.id, event.type, event.data)
        assert (read.metadata, read.content_type) == (event.metadata, event.content_type)
        assert read.stream_name == stream
        assert read.recorded_at is not None
        assert abs(read.recorded_at - before) < timedelta(seconds=30)

    @pytest.mark.parametrize("batch", [False, True])
    def test_one_event_alone_and_in_a_list_is_refused_alike(
        self, client: EventStoreDBClient, batch: bool
    ) -> None:
        stream = new_stream()
        append(client, stream, new_events(2))
        for expected, current in ((NO_STREAM, "1"), (0, "1"), (7, "1")):
            (event,) = new_events(1)
            with pytest.raises(WrongCurrentVersion, match=f"last event is {current} not"):
                client.append_to_stream(
                    stream, current_version=expected, events=[event] if batch else event
                )
        assert len(client.get_stream(stream)) == 2

    def test_says_that_a_stream_does_not_exist(self, client: EventStoreDBClient) -> None:
        for expected in (EXISTS, 0, 7):
            with pytest.raises(WrongCurrentVersion, match="does not exist"):
                client.append_to_stream(
                    new_stream(), current_version=expected, events=new_events(1)
                )

    def test_accepts_the_current_revision_any_and_exists(self, client: EventStoreDBClient) -> None:
        stream = new_stream()
        append(client, stream, new_events(1), NO_STREAM)
        client.append_to_stream(stream, current_version=0, events=new_events(1))
        append(client, stream, new_events(1), EXISTS)
        append(client, stream, new_events(1), ANY)
        assert client.get_current_version(stream) == 3

    def test_an_append_without_events_is_checked_as_well(self, client: EventStoreDBClient) -> None:
        stream = new_stream()
        append(client, stream, [], NO_STREAM)
        with pytest.raises(NotFound):
            client.get_stream(stream)
        with pytest.raises(WrongCurrentVersion):
            append(client, stream, [], EXISTS)


class TestAppendingAgain:
    """The same events with the same expectation are a retry, which gets the first answer."""

    @pytest.mark.parametrize("expected", [NO_STREAM, ANY])
    def test_to_a_new_stream(self, client: EventStoreDBClient, expected: Expected) -> None:
        stream = new_stream()
        events = new_events(2)
        first = client.append_to_stream(stream, current_version=expected, events=events)
        append(client, stream, new_events(1))
        assert client.append_to_stream(stream, current_version=expected, events=events) == first
        assert len(client.get_stream(stream)) == 3

    @pytest.mark.parametrize("expected", [0, EXISTS])
    def test_to_a_stream_that_exists(self, client: EventStoreDBClient, expected: Expected) -> None:
        stream = new_stream()
        append(client, stream, new_events(1))
        events = new_events(2)
        first = client.append_to_stream(stream, current_version=expected, events=events)
        append(client, stream, new_events(1))
        assert client.append_to_stream(stream, current_version=expected, events=events) == first
        assert len(client.get_stream(stream)) == 4

    def test_one_event_alone(self, client: EventStoreDBClient) -> None:
        stream = new_stream()
        (event,) = new_events(1)
        first = client.append_to_stream(stream, current_version=ANY, events=event)
        assert client.append_to_stream(stream, current_version=ANY, events=event) == first

    @pytest.mark.parametrize("expected", [NO_STREAM, ANY])
    def test_an_old_event_and_then_a_new_one_is_refused(
        self, client: EventStoreDBClient, expected: Expected
    ) -> None:
        stream = new_stream()
        old = new_events(2)
        append(client, stream, old)
        with pytest.raises(WrongCurrentVersion):
            client.append_to_stream(stream, current_version=expected, events=[*old, *new_events(1)])
        assert len(client.get_stream(stream)) == 2

    def test_the_same_ids_in_another_stream_are_new_events(
        self, client: EventStoreDBClient
    ) -> None:
        events = new_events(2)
        streams = [new_stream(), new_stream()]
        positions = [append(client, stream, events) for stream in streams]
        assert positions[0] < positions[1]
        assert [len(client.get_stream(stream)) for stream in streams] == [2, 2]


class TestTheSizeLimit:
    """It counts data, metadata and twice the length of the type of all events."""

    def test_is_reached(self, client: EventStoreDBClient) -> None:
        append(client, new_stream(), _events_of_size(SIZE_LIMIT))

    def test_is_exceeded(self, client: EventStoreDBClient) -> None:
        stream = new_stream()
        with pytest.raises(MaximumAppendSizeExceededError, match=str(SIZE_LIMIT)):
            append(client, stream, _events_of_size(SIZE_LIMIT + 1))
        (event,) = _events_of_size(SIZE_LIMIT + 1, count=1)
        with pytest.raises(GrpcError, match="Maximum Append Size"):
            client.append_to_stream(stream, current_version=ANY, events=event)
        with pytest.raises(NotFound):
            client.get_stream(stream)


class TestReadingAStream:
    @pytest.mark.parametrize(
        ("start", "backwards", "limit", "revisions"),
        [
            (None, False, 2000, range(1200)),
            (None, True, 2000, range(1199, -1, -1)),
            (1190, False, 2000, range(1190, 1200)),
            (1199, False, 2000, range(1199, 1200)),
            (1200, False, 2000, range(0)),
            (3, True, 2000, range(3, -1, -1)),
            (5000, True, 2, range(1199, 1197, -1)),
            (None, False, 513, range(513)),
            (0, True, 1, range(1)),
            (500, False, 700, range(500, 1200)),
        ],
    )
    def test_from_anywhere(
        self,
        client: EventStoreDBClient,
        long_stream: str,
        start: int | None,
        backwards: bool,
        limit: int,
        revisions: range,
    ) -> None:
        events = client.get_stream(
            long_stream, stream_position=start, backwards=backwards, limit=limit
        )
        assert [event.stream_position for event in events] == list(revisions)
        assert [event.data for event in events] == [b'{"n": %d}' % n for n in revisions]

    @pytest.mark.parametrize("backwards", [False, True])
    def test_that_does_not_exist(self, client: EventStoreDBClient, backwards: bool) -> None:
        with pytest.raises(NotFound):
            client.get_stream(new_stream(), backwards=backwards)
        assert client.get_current_version(new_stream()) is NO_STREAM

    def test_with_links_to_be_resolved(self, client: EventStoreDBClient) -> None:
        stream = new_stream()
        append(client, stream, new_events(2))
        assert len(client.get_stream(stream, resolve_links=True)) == 2


class TestReadingAll:
    def test_begins_with_a_system_event(self, client: EventStoreDBClient) -> None:
        (first,) = client.read_all(filter_exclude=(), limit=1)
        assert first.is_system_event

    def test_forwards_includes_where_it_starts(self, client: EventStoreDBClient) -> None:
        start = append(client, new_stream(), new_events(1))
        events = new_events(3)
        append(client, new_stream(), events)
        read = list(client.read_all(commit_position=start, limit=4))
        assert commit_position(read[0]) == start
        assert [event.id for event in read[1:]] == [event.id for event in events]

    def test_backwards_excludes_where_it_starts(self, client: EventStoreDBClient) -> None:
        events = new_events(3)
        last = append(client, new_stream(), events)
        read = list(client.read_all(commit_position=last, backwards=True, limit=2))
        assert [event.id for event in read] == [events[1].id, events[0].id]

    def test_backwards_starts_at_the_end(self, client: EventStoreDBClient) -> None:
        events = new_events(2)
        append(client, new_stream(), events)
        (last,) = client.read_all(backwards=True, limit=1)
        assert last.id == events[1].id

    def test_beyond_one_page(self, client: EventStoreDBClient) -> None:
        kind = new_type()
        events = new_events(1300, kind)
        start = append(client, new_stream(), events[:1])
        end = append(client, new_stream(), events[1:])
        ids = [event.id for event in events]
        forwards = client.read_all(commit_position=start, filter_include=[kind])
        assert [event.id for event in forwards] == ids
        backwards = client.read_all(
            commit_position=end + 1, backwards=True, filter_include=[kind], limit=1300
        )
        assert [event.id for event in backwards] == ids[::-1]

    def test_the_commit_position_is_the_last_that_matches(self, client: EventStoreDBClient) -> None:
        kind = new_type()
        assert client.get_commit_position(filter_include=[kind]) == 0
        position = append(client, new_stream(), new_events(2, kind))
        append(client, new_stream(), new_events(1))
        assert client.get_commit_position(filter_include=[kind]) == position

    def test_many_pages_while_others_append(
        self, uri: str, client: EventStoreDBClient, connect: Connect
    ) -> None:
        stop = threading.Event()
        other = connect(uri)

        def keep_appending() -> None:
            while not stop.is_set():
                append(other, new_stream(), new_events(20))

        kind = new_type()
        start = append(client, new_stream(), new_events(1, kind))
        with ThreadPoolExecutor() as threads:
            appending = threads.submit(keep_appending)
            try:
                for _ in range(6):
                    append(client, new_stream(), new_events(200, kind))
                    read = list(client.read_all(commit_position=start))
                    positions = [commit_position(event) for event in read]
                    assert positions == sorted(set(positions))
            finally:
                stop.set()
            appending.result(PATIENCE)
        mine = client.read_all(commit_position=start, filter_include=[kind])
        expected = [0, *(n for _ in range(6) for n in range(200))]
        assert [event.data for event in mine] == [b'{"n": %d}' % n for n in expected]


class TestFilters:
    @pytest.fixture
    def letters(self, client: EventStoreDBClient) -> Callable[..., list[str]]:
        """Appends events of several types; returns a function that reads them with a filter."""
        stream = new_stream()
        events = [
            NewEvent(type=kind, data=b"{}") for kind in ("A", "xA", "Ax", "B", "xBx", "C", "Cx")
        ]
        append(client, stream, events)
        start = commit_position(client.get_stream(stream, limit=1)[0])
        ids = {event.id for event in events}

        def read(**filters: object) -> list[str]:
            found = client.read_all(commit_position=start, **filters)  # type: ignore[arg-type]
            return [event.type for event in found if event.id in ids]

        return read

    def test_anchors_bind_only_the_outer_two(self, letters: Callable[..., list[str]]) -> None:
        # The client sends ^A|B|C$.
        assert letters(filter_include=["A", "B", "C"]) == ["A", "Ax", "B", "xBx", "C"]

    def test_excluded_types(self, letters: Callable[..., list[str]]) -> None:
        assert letters(filter_exclude=["A.*", "B"]) == ["xA", "xBx", "C", "Cx"]

    def test_by_stream_name(self, client: EventStoreDBClient) -> None:
        stream = new_stream()
        events = new_events(2)
        append(client, new_stream(), new_events(1))
        append(client, stream, events)
        found = client.read_all(filter_include=[stream], filter_by_stream_name=True)
        assert [event.id for event in found] == [event.id for event in events]

    def test_system_events_are_left_out_by_default(self, client: EventStoreDBClient) -> None:
        assert not any(event.is_system_event for event in client.read_all(limit=50))

    def test_an_invalid_pattern_is_refused(self, client: EventStoreDBClient) -> None:
        with pytest.raises(GrpcError):
            list(client.read_all(filter_include=["("]))


class TestSubscriptions:
    def test_to_all_begins_after_a_position(self, client: EventStoreDBClient) -> None:
        events = new_events(3)
        append(client, new_stream(), events[:1])
        start = client.get_commit_position()
        append(client, new_stream(), events[1:])
        with client.subscribe_to_all(commit_position=start, timeout=PATIENCE) as subscription:
            received = [next(subscription).id, next(subscription).id]
        assert received == [event.id for event in events[1:]]

    def test_to_a_stream_begins_after_a_revision(self, client: EventStoreDBClient) -> None:
        stream = new_stream()
        append(client, stream, new_events(3))
        with client.subscribe_to_stream(
            stream, stream_position=0, timeout=PATIENCE
        ) as subscription:
            assert next(subscription).stream_position == 1
            assert next(subscription).stream_position == 2
            append(client, stream, new_events(1))
            assert next(subscription).stream_position == 3

    def test_to_a_stream_from_its_start_and_its_end(self, client: EventStoreDBClient) -> None:
        stream = new_stream()
        append(client, stream, new_events(2))
        with (
            client.subscribe_to_stream(stream, timeout=PATIENCE) as from_start,
            client.subscribe_to_stream(stream, from_end=True, timeout=PATIENCE) as from_end,
        ):
            append(client, stream, new_events(1))
            assert [next(from_start).stream_position for _ in range(3)] == [0, 1, 2]
            assert next(from_end).stream_position == 2

    def test_to_a_stream_that_does_not_exist_yet(self, client: EventStoreDBClient) -> None:
        stream = new_stream()
        with client.subscribe_to_stream(stream, timeout=PATIENCE) as subscription:
            append(client, stream, new_events(1))
            assert next(subscription).stream_position == 0

    def test_to_all_from_the_end(self, client: EventStoreDBClient) -> None:
        append(client, new_stream(), new_events(1))
        with client.subscribe_to_all(from_end=True, timeout=PATIENCE) as subscription:
            events = new_events(1)
            append(client, new_stream(), events)
            assert next(subscription).id == events[0].id

    def test_caught_up_comes_after_history_and_before_live(
        self, client: EventStoreDBClient
    ) -> None:
        kind = new_type()
        history = new_events(1100, kind)
        append(client, new_stream(), history)
        with client.subscribe_to_all(
            filter_include=[kind], include_caught_up=True, timeout=PATIENCE
        ) as subscription:
            received = [next(subscription) for _ in range(1101)]
            assert [event.id for event in received[:-1]] == [event.id for event in history]
            assert received[-1].is_caught_up
            live = new_events(1, kind)
            append(client, new_stream(), live)
            assert next(subscription).id == live[0].id

    def test_caught_up_on_a_stream(self, client: EventStoreDBClient) -> None:
        stream = new_stream()
        append(client, stream, new_events(1100))
        with client.subscribe_to_stream(
            stream, include_caught_up=True, timeout=PATIENCE
        ) as subscription:
            received = [next(subscription) for _ in range(1101)]
        assert [event.is_caught_up for event in received] == [False] * 1100 + [True]

    def test_checkpoints_come_after_each_window(self, client: EventStoreDBClient) -> None:
        kind, stream = new_type(), new_stream()
        start = append(client, new_stream(), new_events(1, kind))
        append(client, stream, new_events(100))
        beyond = commit_position(client.get_stream(stream, stream_position=89, limit=1)[0])
        with client.subscribe_to_all(
            commit_position=start,
            filter_include=[kind],
            include_checkpoints=True,
            window_size=5,
            checkpoint_interval_multiplier=2,
            timeout=PATIENCE,
        ) as subscription:
            positions = list(_checkpoints(subscription, until=beyond))
        assert len([position for position in positions if position > start]) == 9
        assert positions == sorted(set(positions))
        assert positions[-1] <= client.get_commit_position(filter_exclude=())

    def test_nothing_is_lost_between_history_and_live(
        self, uri: str, client: EventStoreDBClient, connect: Connect
    ) -> None:
        other = connect(uri)
        for _ in range(100):
            kind = new_type()
            events = new_events(3, kind)
            start = client.get_commit_position()
            append(client, new_stream(), events[:1])
            with ThreadPoolExecutor(1) as threads:
                appending = threads.submit(append, other, new_stream(), events[1:])
                with client.subscribe_to_all(
                    commit_position=start, filter_include=[kind], timeout=PATIENCE
                ) as subscription:
                    received = [next(subscription).id for _ in events]
                appending.result(PATIENCE)
            assert received == [event.id for event in events]

    def test_nothing_is_lost_when_the_append_meets_caught_up(
        self, client: EventStoreDBClient
    ) -> None:
        stream = new_stream()
        for revision in range(100):
            with client.subscribe_to_stream(
                stream, from_end=True, include_caught_up=True, timeout=PATIENCE
            ) as subscription:
                append(client, stream, new_events(1))
                received = [next(subscription), next(subscription)]
            assert [e.stream_position for e in received if not e.is_caught_up] == [revision]

    def test_a_slow_reader_gets_everything(self, client: EventStoreDBClient) -> None:
        """It begins to read when more was appended than all buffers hold."""
        kind = new_type()
        with client.subscribe_to_all(
            from_end=True, filter_include=[kind], timeout=PATIENCE
        ) as subscription:
            data = b"x" * 20_000
            ids: list[UUID] = []
            for _ in range(120):
                events = [NewEvent(type=kind, data=data) for _ in range(50)]
                append(client, new_stream(), events)
                ids.extend(event.id for event in events)
            assert [next(subscription).id for _ in ids] == ids


class TestManyClients:
    def test_eight_race_for_each_revision_of_one_stream(self, uri: str, connect: Connect) -> None:
        """One client succeeds for each revision, and the stream holds exactly these events."""
        stream, revisions = new_stream(), 40
        clients = [connect(uri) for _ in range(8)]
        start = threading.Barrier(len(clients))

        def race(client: EventStoreDBClient) -> list[tuple[int, UUID, int]]:
            won = []
            start.wait(PATIENCE)
            for revision in range(revisions):
                expected = NO_STREAM if revision == 0 else revision - 1
                (event,) = new_events(1)
                try:
                    position = client.append_to_stream(
                        stream, current_version=expected, events=[event]
                    )
                except WrongCurrentVersion:
                    continue
                won.append((revision, event.id, position))
            return won

        with ThreadPoolExecutor(len(clients)) as threads:
            won = sorted(place for part in threads.map(race, clients) for place in part)
        events = clients[0].get_stream(stream)
        assert [(e.stream_position, e.id, e.commit_position) for e in events] == won
        assert [revision for revision, _, _ in won] == list(range(revisions))

    def test_eight_append_to_one_stream(self, uri: str, connect: Connect) -> None:
        """With *any*, no append is refused, and the events of each stay together."""
        stream = new_stream()
        clients = [connect(uri) for _ in range(8)]
        start = threading.Barrier(len(clients))

        def write(client: EventStoreDBClient) -> dict[int, list[UUID]]:
            start.wait(PATIENCE)
            batches = [new_events(3) for _ in range(20)]
            return {append(client, stream, batch): [e.id for e in batch] for batch in batches}

        with ThreadPoolExecutor(len(clients)) as threads:
            written = [batch for part in threads.map(write, clients) for batch in part.items()]
        events = clients[0].get_stream(stream)
        assert [event.stream_position for event in events] == list(range(8 * 20 * 3))
        assert [event.id for event in events] == [id_ for _, ids in sorted(written) for id_ in ids]

    def test_a_refused_append_does_not_disturb_its_neighbours(
        self, uri: str, connect: Connect
    ) -> None:
        clients = [connect(uri) for _ in range(6)]
        stream = new_stream()
        append(clients[0], stream, new_events(1))

        def refused(client: EventStoreDBClient) -> None:
            for _ in range(15):
                with pytest.raises(WrongCurrentVersion):
                    append(client, stream, new_events(1), NO_STREAM)
                with pytest.raises(MaximumAppendSizeExceededError):
                    append(client, stream, _events_of_size(SIZE_LIMIT + 1))

        def accepted(client: EventStoreDBClient) -> list[RecordedEvent]:
            mine = new_stream()
            for revision in range(40):
                expected = NO_STREAM if revision == 0 else revision - 1
                client.append_to_stream(mine, current_version=expected, events=new_events(1))
            return list(client.get_stream(mine))

        with ThreadPoolExecutor(len(clients)) as threads:
            refusing = [threads.submit(refused, client) for client in clients[:3]]
            accepting = [threads.submit(accepted, client) for client in clients[3:]]
            assert [len(future.result(PATIENCE)) for future in accepting] == [40, 40, 40]
            for future in refusing:
                future.result(PATIENCE)
        assert len(clients[0].get_stream(stream)) == 1

    def test_a_live_subscription_sees_what_all_of_them_append(
        self, uri: str, client: EventStoreDBClient, connect: Connect
    ) -> None:
        kind = new_type()
        clients = [connect(uri) for _ in range(4)]
        with client.subscribe_to_all(
            from_end=True, filter_include=[kind], timeout=PATIENCE
        ) as subscription:

            def work(writer: EventStoreDBClient) -> None:
                for _ in range(25):
                    append(writer, new_stream(), new_events(2, kind))

            with ThreadPoolExecutor(len(clients)) as threads:
                list(threads.map(work, clients))
            positions = [commit_position(next(subscription)) for _ in range(200)]
        assert positions == sorted(set(positions))


class TestConnecting:
    def test_by_discovery(self, uri: str, connect: Connect) -> None:
        client = connect(uri.replace("esdb://", "esdb+discover://"))
        append(client, new_stream(), new_events(1))

    def test_a_call_beyond_its_deadline_ends(self, client: EventStoreDBClient) -> None:
        with (
            pytest.raises(GrpcError, match="Deadline"),
            client.subscribe_to_stream(f"Test:{uuid4()}", timeout=0.2) as subscription,
        ):
            next(subscription)


def _events_of_size(size: int, count: int = 2) -> list[NewEvent]:
    """Events that count as ``size`` bytes together."""
    kind, metadata = "Tested", b'{"a": 1}'
    data = size - count * (2 * len(kind) + len(metadata))
    sizes = [data - 10 * (count - 1), *[10] * (count - 1)]
    return [NewEvent(type=kind, data=b"x" * n, metadata=metadata) for n in sizes]


def _checkpoints(subscription: Iterator[RecordedEvent], until: int) -> Iterator[int]:
    for event in subscription:
        if event.is_checkpoint:
            yield commit_position(event)
            if commit_position(event) >= until:
                return
