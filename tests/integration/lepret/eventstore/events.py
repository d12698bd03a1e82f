"""Events and streams that no other test uses."""

from __future__ import annotations

from uuid import uuid4

from esdbclient import EventStoreDBClient, NewEvent, RecordedEvent, StreamState

from tests.support.processes import PATIENCE

ANY = StreamState.ANY
NO_STREAM = StreamState.NO_STREAM
EXISTS = StreamState.EXISTS

Expected = StreamState | int


def new_stream() -> str:
    return f"Test:{uuid4()}"


def new_type() -> str:
    """An event type of the test's own, to find its events in `$all`."""
    return f"T{uuid4().hex}"


def new_events(count: int, event_type: str = "Tested") -> list[NewEvent]:
    return [NewEvent(type=event_type, data=b'{"n": %d}' % n) for n in range(count)]


def append(
    client: EventStoreDBClient, stream: str, events: list[NewEvent], expected: StreamState = ANY
) -> int:
    """Append and return the last event's commit position."""
    return client.append_to_stream(
        stream, current_version=expected, events=events, timeout=PATIENCE
    )


def commit_position(event: RecordedEvent) -> int:
    assert event.commit_position is not None
    return event.commit_position
