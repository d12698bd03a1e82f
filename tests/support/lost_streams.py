"""What operators can do to a stream, with EventStoreDB's page or API."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from esdbclient import EventStoreDBClient, StreamState
from esdbclient.exceptions import NotFound, StreamIsDeleted

from tests.support.processes import wait_until

# Seconds after which EventStoreDB hides the events of a stream that is let expire.
SHORTLY: Final = 1


def tombstone(client: EventStoreDBClient, stream: str) -> None:
    """Delete it for good."""
    client.tombstone_stream(stream, current_version=StreamState.ANY)


def delete(client: EventStoreDBClient, stream: str) -> None:
    """Delete it in the way that lets it be written to again."""
    client.delete_stream(stream, current_version=StreamState.ANY)


def truncate(client: EventStoreDBClient, stream: str) -> None:
    """Hide its first event."""
    set_metadata(client, stream, {"$tb": 1})


def truncate_beyond_the_end(client: EventStoreDBClient, stream: str) -> None:
    """Hide all of its events, and some that are to come."""
    set_metadata(client, stream, {"$tb": 100})


def keep_the_last(client: EventStoreDBClient, stream: str) -> None:
    """Hide all but its last event."""
    set_metadata(client, stream, {"$maxCount": 1})


def let_expire(client: EventStoreDBClient, stream: str) -> None:
    """Have its events hidden when they are a second old, and wait until they are."""
    set_metadata(client, stream, {"$maxAge": SHORTLY})
    wait_until(lambda: not client.get_stream(stream), what="its events have expired")


def set_metadata(client: EventStoreDBClient, stream: str, metadata: dict[str, Any]) -> None:
    """Set the stream's metadata, whatever they were."""
    client.set_stream_metadata(stream, metadata=metadata, current_version=StreamState.ANY)


Way = Callable[[EventStoreDBClient, str], None]

WAYS: Final[Mapping[str, Way]] = {
    "tombstoned": tombstone,
    "deleted": delete,
    "truncated": truncate,
    "truncated beyond its end": truncate_beyond_the_end,
    "cut to its last event": keep_the_last,
    "expired": let_expire,
}
# Those that leave nothing of a stream with one event.
OF_ALL_EVENTS: Final[Mapping[str, Way]] = {
    name: way for name, way in WAYS.items() if way is not keep_the_last
}


def revisions_left(client: EventStoreDBClient, stream: str) -> list[int]:
    """The revisions that can still be read."""
    try:
        return [each.stream_position for each in client.get_stream(stream)]
    except (NotFound, StreamIsDeleted):
        return []
