"""Link events, and reads that resolve them."""

from __future__ import annotations

import pytest
from esdbclient import EventStoreDBClient, NewEvent, RecordedEvent

from tests.integration.lepret.eventstore.events import ANY, append, new_events, new_stream
from tests.support.processes import PATIENCE


def _link(revision: int | str, stream: str) -> NewEvent:
    return NewEvent(type="$>", data=f"{revision}@{stream}".encode(), metadata=b"")


@pytest.fixture
def target(client: EventStoreDBClient) -> str:
    """A stream of three events with the separator of links, `@`, in its name."""
    stream = f"{new_stream()}@home"
    append(client, stream, new_events(3))
    return stream


def _seen(event: RecordedEvent) -> tuple[str, int, str | None, int | None]:
    if event.link is None:
        return event.stream_name, event.stream_position, None, None
    link = event.link
    return event.stream_name, event.stream_position, link.stream_name, link.stream_position


def test_reads_return_the_event_with_its_link(client: EventStoreDBClient, target: str) -> None:
    stream = new_stream()
    append(client, stream, [_link(2, target), *new_events(1), _link(0, target)])
    expected = [(target, 2, stream, 0), (stream, 1, None, None), (target, 0, stream, 2)]
    events = client.get_stream(stream, resolve_links=True)
    assert [_seen(event) for event in events] == expected
    backwards = client.get_stream(stream, resolve_links=True, backwards=True)
    assert [_seen(event) for event in backwards] == expected[::-1]
    original = client.get_stream(target)[2]
    assert (events[0].id, events[0].data) == (original.id, original.data)
    assert events[0].ack_id != events[0].id


def test_reads_return_the_link_itself_by_default(client: EventStoreDBClient, target: str) -> None:
    stream = new_stream()
    append(client, stream, [_link(1, target)])
    (event,) = client.get_stream(stream)
    assert (event.type, event.data, event.link) == ("$>", f"1@{target}".encode(), None)


def test_all_resolves_too(client: EventStoreDBClient, target: str) -> None:
    stream = new_stream()
    append(client, stream, [_link(1, target)])
    (event,) = client.read_all(
        resolve_links=True, filter_include=[stream], filter_by_stream_name=True
    )
    assert _seen(event) == (target, 1, stream, 0)


def test_subscriptions_resolve_history_and_live(client: EventStoreDBClient, target: str) -> None:
    stream = new_stream()
    append(client, stream, [_link(0, target)])
    to_stream = client.subscribe_to_stream(stream, resolve_links=True, timeout=PATIENCE)
    to_all = client.subscribe_to_all(
        resolve_links=True,
        filter_include=[stream],
        filter_by_stream_name=True,
        timeout=PATIENCE,
    )
    for subscription in (to_stream, to_all):
        assert _seen(next(subscription)) == (target, 0, stream, 0)
    append(client, stream, [_link(2, target)])
    for subscription in (to_stream, to_all):
        assert _seen(next(subscription)) == (target, 2, stream, 1)
        subscription.stop()


@pytest.mark.parametrize("data", [b"99@%s", b"-2@%s", b"1@", b"1", b"0@never"])
def test_broken_links_do_not_affect_others(
    client: EventStoreDBClient, target: str, data: bytes
) -> None:
    stream = new_stream()
    broken = NewEvent(type="$>", data=data.replace(b"%s", target.encode()), metadata=b"")
    append(client, stream, [broken, _link(1, target)])
    events = client.get_stream(stream, resolve_links=True)
    assert [_seen(event) for event in events] == [(target, 1, stream, 1)]


@pytest.mark.parametrize("data", [b"x@%s", b"@%s", b"%s", b"\xff@%s", b"9" * 5000 + b"@%s"])
def test_what_names_no_revision_is_an_ordinary_event(
    client: EventStoreDBClient, target: str, data: bytes
) -> None:
    stream = new_stream()
    ordinary = NewEvent(type="$>", data=data.replace(b"%s", target.encode()), metadata=b"")
    append(client, stream, [ordinary])
    (event,) = client.get_stream(stream, resolve_links=True)
    assert (event.id, event.type, event.link) == (ordinary.id, "$>", None)


def test_a_link_to_the_last_event(client: EventStoreDBClient, target: str) -> None:
    stream = new_stream()
    append(client, stream, [_link(-1, target), _link("+1", target)])
    events = client.get_stream(stream, resolve_links=True)
    assert [_seen(event) for event in events] == [(target, 2, stream, 0), (target, 1, stream, 1)]


def test_links_to_hidden_events_are_broken(client: EventStoreDBClient, target: str) -> None:
    stream, ended = new_stream(), new_stream()
    append(client, ended, new_events(1))
    append(client, stream, [_link(0, target), _link(0, ended), _link(2, target)])
    client.set_stream_metadata(target, metadata={"$maxCount": 1})
    client.tombstone_stream(ended, current_version=ANY)
    events = client.get_stream(stream, resolve_links=True)
    assert [_seen(event) for event in events] == [(target, 2, stream, 2)]
