"""Whether an event store still has the event of a bookmark."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import pytest
from esdbclient import EventStoreDBClient, NewEvent, RecordedEvent, StreamState
from esdbclient.exceptions import EventStoreDBClientException, GrpcError, UnknownError

from readmodels.models import Checkpoint
from readmodels.projector.bookmarks import Bookmark, StoreReplaced, check
from tests.support.event_store import RunningEventStore
from tests.support.guarded_store import running_guarded_store
from tests.support.processes import PATIENCE
from tests.support.replaced_stores import backed_up, replace_store

STREAM: Final = "Other:1"


@pytest.fixture
def client(event_store: RunningEventStore) -> Iterator[EventStoreDBClient]:
    with EventStoreDBClient(event_store.uri) as client:
        yield client


def append(client: EventStoreDBClient, stream: str = STREAM, times: int = 1) -> Bookmark:
    """Append to a stream; returns a bookmark at the last event."""
    events = [NewEvent(type="SomethingHappened", data=b"{}") for _ in range(times)]
    client.append_to_stream(stream, current_version=StreamState.ANY, events=events)
    return Bookmark.at(next(iter(client.read_all(backwards=True, limit=1))))


def is_there(bookmark: Bookmark, client: EventStoreDBClient) -> bool:
    try:
        check(bookmark, client, timeout=PATIENCE)
    except StoreReplaced:
        return False
    return True


def test_an_event_is_there_also_when_the_store_has_grown(client: EventStoreDBClient) -> None:
    bookmark = append(client)
    assert is_there(bookmark, client)
    append(client, times=3)
    assert is_there(bookmark, client)


def test_the_beginning_is_in_every_store(client: EventStoreDBClient) -> None:
    assert is_there(Bookmark(), client)


class TestInAnotherHistory:
    def test_another_event_is_there(self, client: EventStoreDBClient) -> None:
        assert not is_there(replace(append(client), event_id=uuid4()), client)

    def test_the_store_ends_before_it(self, client: EventStoreDBClient) -> None:
        bookmark = append(client)
        beyond = replace(bookmark, position=bookmark.position + 10, revision=10)
        assert not is_there(beyond, client)
        assert not is_there(replace(beyond, stream_name="Other:2"), client)

    def test_a_stream_that_was_truncated_before_is_no_proof_of_a_scavenge(
        self, client: EventStoreDBClient
    ) -> None:
        """It has metadata, but does not go on after the event."""
        bookmark = append(client, times=3)
        client.set_stream_metadata(STREAM, metadata={"$maxCount": 1})
        beyond = replace(bookmark, position=bookmark.position + 10, revision=5)
        assert not is_there(beyond, client)

    def test_the_same_event_was_recorded_again_elsewhere(
        self, client: EventStoreDBClient, event_store: RunningEventStore
    ) -> None:
        """As when its sender tries again after the store went back."""
        event = NewEvent(type="SomethingHappened", data=b"{}")
        before = backed_up(event_store, "before")
        append(client, "Other:2", times=3)
        client.append_to_stream(STREAM, current_version=StreamState.NO_STREAM, events=[event])
        bookmark = Bookmark.at(next(iter(client.read_all(backwards=True, limit=1))))

        replace_store(event_store, before)
        client.append_to_stream(STREAM, current_version=StreamState.NO_STREAM, events=[event])

        assert not is_there(bookmark, client)


HIDE: Final[dict[str, Callable[[EventStoreDBClient], object]]] = {
    "deleted": lambda client: client.delete_stream(STREAM, current_version=StreamState.ANY),
    "tombstoned": lambda client: client.tombstone_stream(STREAM, current_version=StreamState.ANY),
    "truncated": lambda client: client.set_stream_metadata(STREAM, metadata={"$tb": 3}),
    "counted": lambda client: client.set_stream_metadata(STREAM, metadata={"$maxCount": 1}),
}


class TestAnEventThatWas:
    @pytest.mark.parametrize("how", HIDE)
    def test_hidden_is_still_there(self, client: EventStoreDBClient, how: str) -> None:
        bookmark = append(client)
        append(client, times=3)
        HIDE[how](client)
        assert is_there(bookmark, client)

    @pytest.mark.parametrize("how", HIDE)
    def test_scavenged_is_not_taken_for_one_of_another_store(
        self, client: EventStoreDBClient, event_store: RunningEventStore, how: str
    ) -> None:
        bookmark = append(client)
        append(client, times=3)
        HIDE[how](client)
        event_store.scavenge()
        client.get_commit_position()  # Which connects again.
        assert bookmark.event_id not in {each.id for each in client.read_all()}
        assert is_there(bookmark, client)


class TestABookmarkOfAnOlderVersion:
    """It has the time of the event, and not its id."""

    def test_is_compared_by_the_time(self, client: EventStoreDBClient) -> None:
        bookmark = append(client)
        older = Bookmark(bookmark.position, bookmark.recorded_at)
        assert is_there(older, client)
        assert older.recorded_at is not None
        earlier = older.recorded_at - timedelta(seconds=1)
        assert not is_there(replace(older, recorded_at=earlier), client)
        assert not is_there(replace(older, position=older.position + 10), client)

    def test_is_what_is_left_when_that_version_moves_the_position(self) -> None:
        event: Any = RecordedEvent(
            type="SomethingHappened", data=b"{}", metadata=b"", content_type="application/json",
            id=uuid4(), stream_name=STREAM, stream_position=2, commit_position=7,
            prepare_position=7,
        )  # fmt: skip
        columns = Bookmark.at(event).columns
        assert Bookmark.of(Checkpoint(**columns)) == Bookmark.at(event)
        assert Bookmark.of(Checkpoint(**{**columns, "position": 8})) == Bookmark(8)


class Refusing(EventStoreDBClient):
    """EventStoreDB refuses a read from a position at which no record begins."""

    def read_all(self, *args: Any, **kwargs: Any) -> Any:
        raise UnknownError


class TestARefusedRead:
    def test_leaves_it_to_the_stream(self, event_store: RunningEventStore) -> None:
        with EventStoreDBClient(event_store.uri) as client:
            bookmark = append(client)
        with Refusing(event_store.uri) as refusing:
            assert is_there(bookmark, refusing)
            assert not is_there(replace(bookmark, stream_name="Other:2"), refusing)

    def test_is_no_outage(self, event_store: RunningEventStore) -> None:
        with EventStoreDBClient(event_store.uri) as client:
            bookmark = append(client)
            event_store.stop()
            with pytest.raises(EventStoreDBClientException):
                check(bookmark, client, timeout=PATIENCE)

    def test_for_want_of_a_right_tells_nothing_of_the_store(
        self, event_store: RunningEventStore, tmp_path: Path
    ) -> None:
        with EventStoreDBClient(event_store.uri) as client:
            bookmark = append(client)
        with (
            running_guarded_store(event_store, tmp_path) as store,
            EventStoreDBClient(store.uri()) as client,
        ):
            with pytest.raises(GrpcError):
                check(bookmark, client, timeout=PATIENCE)
            store.users["lepret"].password = "another"
            with pytest.raises(GrpcError):
                check(bookmark, client, timeout=PATIENCE)


def test_a_name_that_postgresql_cannot_store_is_left_out() -> None:
    bookmark = Bookmark(7, event_id=uuid4(), stream_name="a\0b", revision=1)
    assert bookmark.columns["event_stream"] == ""
    assert Bookmark.of(Checkpoint(**bookmark.columns)) == replace(
        bookmark, stream_name="", revision=None
    )
