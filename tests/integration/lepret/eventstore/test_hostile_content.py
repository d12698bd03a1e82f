"""Whatever clients have stored, the event store starts, and answers for every stream."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import grpc
import pytest
from esdbclient import EventStoreDBClient, NewEvent
from esdbclient.exceptions import EventStoreDBClientException, NotFound, StreamIsDeleted
from esdbclient.protos.Grpc import persistent_pb2, shared_pb2
from hypothesis import HealthCheck, given, settings, strategies

from lepret.eventstore.persistent.group_store import SETTINGS_STREAM, SETTINGS_TYPE
from tests.integration.lepret.eventstore.conftest import Connect
from tests.integration.lepret.eventstore.events import append, new_events, new_stream
from tests.integration.lepret.eventstore.persistent.groups import Group, stub_of
from tests.support.event_store import EmbeddedEventStore
from tests.support.processes import PATIENCE

NUMBERS = [0, 1, -1, 2**31, 2**31 - 1, 2**53, 2**62, 2**63 - 1, 2**63, 2**64, 10**30, 1.5, 1e300]
KEYS = ["$maxAge", "$maxCount", "$tb", "$cacheControl", "$acl"]

numbers = strategies.sampled_from(NUMBERS) | strategies.integers()
values: strategies.SearchStrategy[Any] = numbers | strategies.sampled_from(
    [None, True, "9", "\ud800", [], {}, [[]], {"$r": 1}]
)
texts = strategies.sampled_from(
    [
        b"",
        b"{",
        b"null",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"a":' * 50_000,
        b'{"$maxAge": ' + b"9" * 5000 + b"}",
        b'{"$tb": 1e999, "$maxAge": NaN}',
        b'"C:' + b"9" * 5000 + b'/P:1"',
        b'"-1"',
    ]
)
metadata = strategies.dictionaries(strategies.sampled_from(KEYS), values).map(
    lambda value: json.dumps(value).encode()
)


@strategies.composite
def configurations(draw: strategies.DrawFn) -> bytes:
    """Settings of a group that a client has written by itself."""
    entry = {
        "stream": draw(strategies.sampled_from(["$all", "s", "$$s", "x" * 5000, 5])),
        "group": draw(strategies.sampled_from(["g", "g2", "\x00", "::", ""])),
        "startFrom": draw(numbers),
        "firstNumber": draw(numbers),
        "resolveLinkTos": draw(strategies.booleans()),
        "extraStatistics": True,
        **{name: draw(numbers) for name in _GROUP_NUMBERS},
        "namedConsumerStrategy": draw(strategies.sampled_from(["RoundRobin", "Pinned", "None"])),
        "filter": draw(
            strategies.none()
            | strategies.fixed_dictionaries(
                {
                    "context": strategies.sampled_from(["eventType", "streamId"]),
                    "regex": strategies.sampled_from(["^(a+)+$", "(?=a)", "(", "a" * 9000]),
                }
            )
        ),
    }
    return json.dumps({"entries": [entry]}).encode()


_GROUP_NUMBERS = [
    "messageTimeout", "maxRetryCount", "checkPointAfter", "minCheckPointCount",
    "maxCheckPointCount", "maxSubscriberCount", "liveBufferSize", "readBatchSize",
    "historyBufferSize",
]  # fmt: skip


def _streams(group: Group) -> list[str]:
    """The streams in which groups store what they need to start."""
    own = f"$persistentsubscription-{group.stream}::{group.name}"
    return [SETTINGS_STREAM, f"{own}-checkpoint", f"{own}-parked", group.stream, "$$$scavenges"]


class TestStored:
    @settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
    @given(content=strategies.data())
    def test_it_starts_and_answers(
        self, store: EmbeddedEventStore, connect: Connect, content: strategies.DataObject
    ) -> None:
        client = connect(store.uri)
        group = Group(client).create(min_checkpoint_count=1)
        group.append(1)
        group.acked(1)
        group.append(1)
        group.parked(1)
        for stream in _streams(group):
            _write(client, f"$${stream}", content.draw(metadata | texts), "$metadata")
            _write(client, stream, content.draw(configurations() | texts | metadata), SETTINGS_TYPE)
        assert store.process.is_alive()
        store.restart()
        client = connect(store.uri)
        other = new_stream()
        append(client, other, new_events(2))
        assert len(client.get_stream(other)) == 2
        for stream in [*_streams(group), *(f"$${stream}" for stream in _streams(group))]:
            _read(client, stream)
        assert other in {event.stream_name for event in client.read_all(timeout=PATIENCE)}
        own = Group(client).create()
        own.append(1)
        own.acked(1)

    @pytest.mark.parametrize("key", ["$maxAge", "$maxCount", "$tb"])
    @pytest.mark.parametrize("number", NUMBERS)
    def test_a_group_goes_on(
        self, store: EmbeddedEventStore, connect: Connect, key: str, number: Any
    ) -> None:
        client = connect(store.uri)
        group = Group(client).create()
        events = group.append(2)
        client.set_stream_metadata(SETTINGS_STREAM, metadata={"$maxCount": 2, key: number})
        store.restart()
        if key == "$maxAge" or number != 2**63 - 1:
            client = connect(store.uri)
            assert [event.type for event in client.get_stream(group.stream)] == [group.type] * 2
            if key == "$maxAge" and (not isinstance(number, int) or number != 1):
                assert [event.id for event in group.acked(2)] == [event.id for event in events]


class TestGroupsThatCannotRun:
    """Stored by an older version, whose engine took the filter."""

    @pytest.fixture
    def broken(self, store: EmbeddedEventStore, connect: Connect) -> Group:
        """A group on `$all` with such a filter, in a store that was restarted."""
        group = Group(connect(store.uri), on_all=True).create()
        Group(group.client).create()
        (newest,) = group.client.get_stream(SETTINGS_STREAM, backwards=True, limit=1)
        stored = json.loads(newest.data)
        for entry in stored["entries"]:
            if entry["group"] == group.name:
                entry["filter"]["regex"] = r"(a)\1"
        _write(group.client, SETTINGS_STREAM, json.dumps(stored).encode(), SETTINGS_TYPE)
        store.restart()
        return group

    def test_are_refused_with_the_reason(self, store: EmbeddedEventStore, broken: Group) -> None:
        options = persistent_pb2.ReadReq.Options(
            all=shared_pb2.Empty(), group_name=broken.name, buffer_size=10
        )
        with stub_of(store.uri) as stub, pytest.raises(grpc.RpcError) as refused:
            list(stub.Read(iter([persistent_pb2.ReadReq(options=options)]), timeout=PATIENCE))
        assert refused.value.code() is grpc.StatusCode.INTERNAL
        assert "regular expression cannot be translated" in str(refused.value.details())
        assert r"(a)\1" not in str(refused.value.details())

    def test_leave_others_alone(self, store: EmbeddedEventStore, broken: Group) -> None:
        other = Group(broken.client, on_all=True).create()
        events = other.append(2)
        assert [event.id for event in other.acked(2)] == [event.id for event in events]

    def test_are_kept_until_they_are_deleted(
        self, store: EmbeddedEventStore, broken: Group
    ) -> None:
        Group(broken.client).create()
        store.restart()
        with pytest.raises(EventStoreDBClientException):
            broken.create()
        broken.delete()
        broken.create()
        events = broken.append(1)
        assert [event.id for event in broken.acked(1)] == [event.id for event in events]


def test_a_correlation_id_that_is_no_text(
    embedded_event_store: EmbeddedEventStore, connect: Connect
) -> None:
    client = connect(embedded_event_store.uri)
    group = Group(client).create(consumer_strategy="PinnedByCorrelation")
    odd = NewEvent(type="T", data=b"{}", metadata=b'{"$correlationId": "\\ud800"}')
    append(client, group.stream, [odd, *new_events(1)])
    assert len(group.acked(2)) == 2


def test_metadata_with_text_that_cannot_be_written_again(
    embedded_event_store: EmbeddedEventStore, connect: Connect
) -> None:
    """An append to a deleted stream writes its metadata again."""
    client = connect(embedded_event_store.uri)
    stream = new_stream()
    append(client, stream, new_events(1))
    odd = b'{"$tb": 9223372036854775807, "x": "\\ud800", "y": 1e999}'
    append(client, f"$${stream}", [NewEvent(type="$metadata", data=odd)])
    append(client, stream, new_events(1))
    assert [event.stream_position for event in client.get_stream(stream)] == [1]


def _write(client: EventStoreDBClient, stream: str, data: bytes, kind: str) -> None:
    with contextlib.suppress(EventStoreDBClientException):
        append(client, stream, [NewEvent(type=kind, data=data)])


def _read(client: EventStoreDBClient, stream: str) -> None:
    """Any answer will do, but that the server failed."""
    with contextlib.suppress(NotFound, StreamIsDeleted):
        client.get_stream(stream, timeout=PATIENCE)
