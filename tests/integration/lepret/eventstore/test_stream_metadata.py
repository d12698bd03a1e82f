"""The effects of `$maxCount`, `$maxAge` and `$tb`."""

from __future__ import annotations

from typing import Any

import pytest
from esdbclient import EventStoreDBClient, NewEvent, StreamState
from esdbclient.exceptions import WrongCurrentVersion

from tests.integration.lepret.eventstore.events import ANY, append, new_events, new_stream
from tests.support.processes import PATIENCE, wait_until


def _revisions(client: EventStoreDBClient, stream: str, **options: Any) -> list[int]:
    return [event.stream_position for event in client.get_stream(stream, **options)]


@pytest.fixture
def stream(client: EventStoreDBClient) -> str:
    """A stream of ten events."""
    stream = new_stream()
    append(client, stream, new_events(10))
    return stream


def test_custom_keys_are_kept_and_guarded_by_the_revision(client: EventStoreDBClient) -> None:
    stream = new_stream()
    assert client.get_stream_metadata(stream) == ({}, StreamState.NO_STREAM)
    client.set_stream_metadata(
        stream, metadata={"owner": "Ärzte"}, current_version=StreamState.NO_STREAM
    )
    client.set_stream_metadata(stream, metadata={"owner": "desk"}, current_version=0)
    assert client.get_stream_metadata(stream) == ({"owner": "desk"}, 1)
    with pytest.raises(WrongCurrentVersion):
        client.set_stream_metadata(stream, metadata={}, current_version=0)


def test_only_the_newest_metadata_can_be_read(client: EventStoreDBClient, stream: str) -> None:
    for number in range(3):
        client.set_stream_metadata(stream, metadata={"number": number})
    assert _revisions(client, f"$${stream}") == [2]


def test_max_count_shows_the_last_events(client: EventStoreDBClient, stream: str) -> None:
    client.set_stream_metadata(stream, metadata={"$maxCount": 3})
    assert _revisions(client, stream) == [7, 8, 9]
    assert _revisions(client, stream, backwards=True) == [9, 8, 7]
    assert _revisions(client, stream, stream_position=8) == [8, 9]
    append(client, stream, new_events(2))
    assert _revisions(client, stream) == [9, 10, 11]
    client.set_stream_metadata(stream, metadata={})
    assert _revisions(client, stream) == list(range(12))


def test_truncate_before_hides_earlier_events(client: EventStoreDBClient, stream: str) -> None:
    client.set_stream_metadata(stream, metadata={"$tb": 4})
    assert _revisions(client, stream) == [4, 5, 6, 7, 8, 9]
    assert _revisions(client, stream, stream_position=2, limit=2) == [4, 5]
    assert _revisions(client, stream, stream_position=2, backwards=True) == []
    client.set_stream_metadata(stream, metadata={"$tb": 4, "$maxCount": 2})
    assert _revisions(client, stream) == [8, 9]


def test_a_stream_with_only_hidden_events_exists(client: EventStoreDBClient, stream: str) -> None:
    client.set_stream_metadata(stream, metadata={"$tb": 10})
    assert _revisions(client, stream) == []
    append(client, stream, new_events(1), StreamState.EXISTS)
    assert _revisions(client, stream) == [10]


def test_max_age_hides_older_events(client: EventStoreDBClient, stream: str) -> None:
    client.set_stream_metadata(stream, metadata={"$maxAge": 3600})
    assert len(_revisions(client, stream)) == 10
    client.set_stream_metadata(stream, metadata={"$maxAge": 1})
    wait_until(lambda: _revisions(client, stream) == [])


def test_subscriptions_see_what_reads_see(client: EventStoreDBClient, stream: str) -> None:
    client.set_stream_metadata(stream, metadata={"$maxCount": 2})
    with client.subscribe_to_stream(stream, timeout=PATIENCE) as subscription:
        assert [next(subscription).stream_position for _ in range(2)] == [8, 9]


def test_all_shows_everything_until_it_is_scavenged(
    client: EventStoreDBClient, stream: str
) -> None:
    client.set_stream_metadata(stream, metadata={"$maxCount": 1})
    events = client.read_all(filter_include=[stream], filter_by_stream_name=True)
    assert len(list(events)) == 10


@pytest.mark.parametrize(
    "data",
    [
        b'{"$maxCount": "x"}',
        b'{"$maxCount": -1}',
        b'{"$maxCount": 0}',
        b'{"$maxCount": true}',
        b'{"$maxCount": 1.5}',
        b'{"$maxAge": -10}',
        b'{"$maxAge": [1]}',
        b'{"$tb": -5}',
        b'{"$tb": 99999999999999999999}',
        b'{"$tb": null}',
        b"[1, 2]",
        b"no JSON at all",
        b"\xff\xfe",
        b"[" * 100_000,
        b"",
    ],
)
def test_invalid_metadata_hide_nothing(
    client: EventStoreDBClient, stream: str, data: bytes
) -> None:
    append(client, f"$${stream}", [NewEvent(type="$metadata", data=data)], ANY)
    assert len(_revisions(client, stream)) == 10
    append(client, stream, new_events(1))
    assert _revisions(client, stream, backwards=True, limit=1) == [10]


def test_retries_of_hidden_events_succeed_without_a_position(client: EventStoreDBClient) -> None:
    stream, events = new_stream(), new_events(2)
    append(client, stream, events, StreamState.NO_STREAM)
    client.set_stream_metadata(stream, metadata={"$tb": 2})
    assert append(client, stream, events, StreamState.NO_STREAM) == 0
    assert append(client, stream, events, ANY) == 0
    assert _revisions(client, stream) == []
