"""Deleted and tombstoned streams."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
import pytest
from esdbclient import EventStoreDBClient
from esdbclient.exceptions import (
    FailedPrecondition,
    NotFound,
    StreamIsDeleted,
    WrongCurrentVersion,
)
from esdbclient.protos.Grpc import shared_pb2, streams_pb2, streams_pb2_grpc

from tests.integration.lepret.eventstore.events import (
    ANY,
    EXISTS,
    NO_STREAM,
    Expected,
    append,
    new_events,
    new_stream,
)
from tests.integration.lepret.eventstore.refused import refused
from tests.support.processes import PATIENCE

DELETED = 2**63 - 1


@pytest.fixture
def stream(client: EventStoreDBClient) -> str:
    """A stream of three events."""
    stream = new_stream()
    append(client, stream, new_events(3), NO_STREAM)
    return stream


def _revisions(client: EventStoreDBClient, stream: str) -> list[int]:
    return [event.stream_position for event in client.get_stream(stream)]


class TestDeleting:
    @pytest.mark.parametrize("expected", [ANY, EXISTS, 2])
    def test_hides_the_stream(
        self, client: EventStoreDBClient, stream: str, expected: Expected
    ) -> None:
        client.delete_stream(stream, current_version=expected)
        with pytest.raises(NotFound):
            client.get_stream(stream)
        assert client.get_current_version(stream) is NO_STREAM
        assert client.get_stream_metadata(stream) == ({"$tb": DELETED}, 0)

    @pytest.mark.parametrize("expected", [NO_STREAM, 0, 1, 3])
    def test_of_a_stream_that_is_not_as_expected(
        self, client: EventStoreDBClient, stream: str, expected: Expected
    ) -> None:
        with pytest.raises(WrongCurrentVersion):
            client.delete_stream(stream, current_version=expected)
        assert _revisions(client, stream) == [0, 1, 2]

    @pytest.mark.parametrize("expected", [ANY, EXISTS, NO_STREAM, 0])
    def test_of_a_stream_that_is_not_there(
        self, client: EventStoreDBClient, expected: Expected
    ) -> None:
        with pytest.raises(NotFound):
            client.delete_stream(new_stream(), current_version=expected)

    @pytest.mark.parametrize("expected", [ANY, EXISTS, NO_STREAM])
    def test_of_a_stream_that_has_only_metadata(
        self, client: EventStoreDBClient, expected: Expected
    ) -> None:
        stream = new_stream()
        client.set_stream_metadata(stream, metadata={"owner": "desk"})
        client.delete_stream(stream, current_version=expected)
        assert client.get_stream_metadata(stream)[0] == {"$tb": DELETED}
        append(client, stream, new_events(1), NO_STREAM)
        assert _revisions(client, stream) == [0]

    def test_then_old_events_with_new_ones_are_refused(self, client: EventStoreDBClient) -> None:
        stream, old = new_stream(), new_events(2)
        append(client, stream, old, NO_STREAM)
        client.delete_stream(stream, current_version=EXISTS)
        with pytest.raises(WrongCurrentVersion):
            append(client, stream, [*old, *new_events(1)], NO_STREAM)
        with pytest.raises(NotFound):
            client.get_stream(stream)

    def test_again(self, client: EventStoreDBClient, stream: str) -> None:
        client.delete_stream(stream, current_version=2)
        client.delete_stream(stream, current_version=2)
        client.delete_stream(stream, current_version=ANY)
        with pytest.raises(WrongCurrentVersion):
            client.delete_stream(stream, current_version=0)
        with pytest.raises(StreamIsDeleted):
            client.delete_stream(stream, current_version=EXISTS)

    @pytest.mark.parametrize("expected", [ANY, NO_STREAM, 2])
    def test_then_appending_begins_anew_with_the_next_revision(
        self, client: EventStoreDBClient, stream: str, expected: Expected
    ) -> None:
        client.delete_stream(stream, current_version=EXISTS)
        client.append_to_stream(stream, current_version=expected, events=new_events(2))
        assert _revisions(client, stream) == [3, 4]
        assert client.get_stream_metadata(stream)[0]["$tb"] == 3
        client.append_to_stream(stream, current_version=4, events=new_events(1))
        assert _revisions(client, stream) == [3, 4, 5]

    def test_then_expecting_the_stream_fails(self, client: EventStoreDBClient, stream: str) -> None:
        client.delete_stream(stream, current_version=EXISTS)
        (event,) = new_events(1)
        with pytest.raises(StreamIsDeleted, match=stream):
            client.append_to_stream(stream, current_version=EXISTS, events=[event])
        with pytest.raises(FailedPrecondition, match=f"{stream}.*is deleted"):
            client.append_to_stream(stream, current_version=EXISTS, events=event)
        with pytest.raises(WrongCurrentVersion):
            client.append_to_stream(stream, current_version=0, events=[event])
        with pytest.raises(NotFound):
            client.get_stream(stream)

    def test_a_retry_from_before_does_not_bring_the_stream_back(
        self, client: EventStoreDBClient
    ) -> None:
        stream, events = new_stream(), new_events(1)
        append(client, stream, events, NO_STREAM)
        client.delete_stream(stream, current_version=EXISTS)
        assert append(client, stream, events, ANY) == 0  # No position: the event is hidden.
        with pytest.raises(NotFound):
            client.get_stream(stream)

    @pytest.mark.parametrize("metadata", [{}, {"owner": "desk"}, {"$tb": 0}, {"$maxCount": 5}])
    def test_then_setting_metadata_does_not_bring_events_back(
        self, client: EventStoreDBClient, stream: str, metadata: dict[str, Any]
    ) -> None:
        client.delete_stream(stream, current_version=EXISTS)
        client.set_stream_metadata(stream, metadata=metadata)
        assert _revisions(client, stream) == []
        append(client, stream, new_events(1))
        assert _revisions(client, stream) == [3]
        kept = client.get_stream_metadata(stream)[0]
        assert kept == {**metadata, "$tb": 3}

    def test_all_still_shows_the_events(self, client: EventStoreDBClient, stream: str) -> None:
        client.delete_stream(stream, current_version=EXISTS)
        events = client.read_all(filter_include=[stream], filter_by_stream_name=True)
        assert [event.stream_position for event in events] == [0, 1, 2]

    def test_a_subscription_goes_on_with_what_comes_after(
        self, client: EventStoreDBClient, stream: str
    ) -> None:
        with client.subscribe_to_stream(stream, timeout=PATIENCE) as subscription:
            assert [next(subscription).stream_position for _ in range(3)] == [0, 1, 2]
            client.delete_stream(stream, current_version=EXISTS)
            append(client, stream, new_events(1))
            assert next(subscription).stream_position == 3


class TestTombstones:
    @pytest.mark.parametrize("expected", [ANY, EXISTS, 2])
    def test_end_a_stream_for_good(
        self, client: EventStoreDBClient, stream: str, expected: Expected
    ) -> None:
        client.tombstone_stream(stream, current_version=expected)
        attempts: list[Callable[[], object]] = [
            lambda: client.get_stream(stream),
            lambda: client.get_current_version(stream),
            lambda: client.get_stream_metadata(stream),
            lambda: append(client, stream, new_events(1), ANY),
            lambda: append(client, stream, new_events(1), NO_STREAM),
            lambda: client.append_to_stream(stream, current_version=2, events=new_events(1)),
            lambda: client.delete_stream(stream, current_version=ANY),
            lambda: client.tombstone_stream(stream, current_version=ANY),
            lambda: client.tombstone_stream(stream, current_version=EXISTS),
            lambda: client.tombstone_stream(stream, current_version=7),
        ]
        for attempt in attempts:
            with pytest.raises(StreamIsDeleted):
                attempt()

    def test_of_a_stream_that_is_not_as_expected(
        self, client: EventStoreDBClient, stream: str
    ) -> None:
        with pytest.raises(WrongCurrentVersion):
            client.tombstone_stream(stream, current_version=1)
        with pytest.raises(WrongCurrentVersion):
            client.tombstone_stream(stream, current_version=NO_STREAM)
        assert _revisions(client, stream) == [0, 1, 2]

    def test_of_a_stream_that_is_not_there(self, client: EventStoreDBClient) -> None:
        for expected in (EXISTS, 0):
            with pytest.raises(NotFound):
                client.tombstone_stream(new_stream(), current_version=expected)
        stream = new_stream()
        client.tombstone_stream(stream, current_version=ANY)
        with pytest.raises(StreamIsDeleted):
            append(client, stream, new_events(1), NO_STREAM)

    def test_of_a_deleted_stream(self, client: EventStoreDBClient, stream: str) -> None:
        client.delete_stream(stream, current_version=ANY)
        client.tombstone_stream(stream, current_version=ANY)
        with pytest.raises(StreamIsDeleted):
            client.get_stream(stream)

    def test_all_shows_them(self, client: EventStoreDBClient, stream: str) -> None:
        client.tombstone_stream(stream, current_version=ANY)
        *_, last = client.read_all(
            filter_include=[stream], filter_exclude=(), filter_by_stream_name=True
        )
        assert (last.type, last.stream_position) == ("$streamDeleted", DELETED)

    def test_end_the_metadata_as_well(self, client: EventStoreDBClient, stream: str) -> None:
        client.set_stream_metadata(stream, metadata={"a": 1})
        client.tombstone_stream(stream, current_version=ANY)
        with pytest.raises(FailedPrecondition, match="is deleted"):
            client.set_stream_metadata(stream, metadata={"a": 2}, current_version=0)
        with pytest.raises(StreamIsDeleted):
            client.get_stream_metadata(stream)

    def test_end_subscriptions(self, client: EventStoreDBClient, stream: str) -> None:
        with client.subscribe_to_stream(stream, timeout=PATIENCE) as subscription:
            for _ in range(3):
                next(subscription)
            client.tombstone_stream(stream, current_version=ANY)
            assert next(subscription).stream_position == DELETED
            with pytest.raises(StreamIsDeleted):
                next(subscription)
        with pytest.raises(StreamIsDeleted):
            client.subscribe_to_stream(stream)


class TestErrorsOnTheWire:
    """Clients in other languages read the trailers, not the text."""

    @pytest.fixture
    def stub(self, uri: str) -> streams_pb2_grpc.StreamsStub:
        target = uri.removeprefix("esdb://").split("?", 1)[0]
        return streams_pb2_grpc.StreamsStub(grpc.insecure_channel(target))  # type: ignore[no-untyped-call]

    def test_of_a_wrong_expectation(
        self, client: EventStoreDBClient, stub: streams_pb2_grpc.StreamsStub, stream: str
    ) -> None:
        options = streams_pb2.DeleteReq.Options(
            stream_identifier=shared_pb2.StreamIdentifier(stream_name=stream.encode()), revision=7
        )
        with refused(grpc.StatusCode.FAILED_PRECONDITION) as error:
            stub.Delete(streams_pb2.DeleteReq(options=options), timeout=PATIENCE)
        assert _trailers(error.value) == {
            "exception": "wrong-expected-version",
            "stream-name": stream,
            "expected-version": "7",
            "actual-version": "2",
        }

    def test_of_a_tombstoned_stream_with_an_unusual_name(
        self, client: EventStoreDBClient, stub: streams_pb2_grpc.StreamsStub
    ) -> None:
        stream = f"Kredit-für-„Zoë“\n{new_stream()}"
        client.tombstone_stream(stream, current_version=ANY)
        options = streams_pb2.TombstoneReq.Options(
            stream_identifier=shared_pb2.StreamIdentifier(stream_name=stream.encode()),
            any=shared_pb2.Empty(),
        )
        with refused(grpc.StatusCode.FAILED_PRECONDITION) as error:
            stub.Tombstone(streams_pb2.TombstoneReq(options=options), timeout=PATIENCE)
        assert stream in str(error.value.details())
        assert _trailers(error.value)["exception"] == "stream-deleted"


def _trailers(error: Any) -> dict[str, str]:
    return dict(error.trailing_metadata())
