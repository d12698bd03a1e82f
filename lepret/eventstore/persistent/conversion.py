"""Converts stored events to a group's messages, and these to responses for subscribers.

Stored events are responses of Streams/Read, which has the same fields.
"""

import json
from uuid import UUID

from esdbclient.protos.Grpc import persistent_pb2

from lepret.eventstore import messages
from lepret.eventstore.persistent.message import Message
from lepret.eventstore.persistent.settings import GroupName
from lepret.eventstore.persistent.strategies import PINNED_BY_CORRELATION
from lepret.eventstore.storage.links import LINK_TYPE
from lepret.eventstore.storage.records import Record

_Event = persistent_pb2.ReadResp.ReadEvent.RecordedEvent


def to_deliver(record: Record, number: int, strategy: str) -> Message:
    """The message for a stored event; its pin depends on the consumer strategy."""
    read = persistent_pb2.ReadResp.FromString(record.response).event
    original = read.link if read.HasField("link") else read.event
    event = read.event if read.HasField("event") else read.link
    return Message(
        id=UUID(original.id.string),
        number=number,
        position=record.position,
        pin=_pin(event, by_correlation=strategy == PINNED_BY_CORRELATION),
        link=_link_to(event) if read.HasField("event") else event.data,
        response=record.response,
        revision=record.revision,
    )


def to_replay(record: Record, strategy: str) -> Message | None:
    """The message for a resolved link to a parked event; None if the event is gone."""
    if not persistent_pb2.ReadResp.FromString(record.response).event.HasField("event"):
        return None
    message = to_deliver(record, record.revision, strategy)
    message.replayed = True
    return message


def delivery(stored: bytes, retries: int, *, structured_ids: bool) -> bytes:
    """A stored event as a subscriber receives it."""
    if structured_ids:
        (stored,) = messages.with_structured_ids([stored])
    response = persistent_pb2.ReadResp.FromString(stored)
    response.event.retry_count = retries
    return response.SerializeToString()


def confirmation(name: GroupName) -> bytes:
    """The first message to a subscriber."""
    return persistent_pb2.ReadResp(
        subscription_confirmation=persistent_pb2.ReadResp.SubscriptionConfirmation(
            subscription_id=str(name)
        )
    ).SerializeToString()


def _link_to(event: _Event) -> bytes:
    return b"%d@%b" % (event.stream_revision, event.stream_identifier.stream_name)


def _pin(event: _Event, *, by_correlation: bool) -> str:
    if by_correlation and (correlation := _correlation(event.custom_metadata)):
        return correlation
    if event.metadata["type"] == LINK_TYPE:
        _, _, stream = event.data.partition(b"@")
        return stream.decode(errors="replace")
    return event.stream_identifier.stream_name.decode(errors="replace")


def _correlation(metadata: bytes) -> str | None:
    try:
        fields = json.loads(metadata)
    except (ValueError, RecursionError):
        return None
    correlation = fields.get("$correlationId") if isinstance(fields, dict) else None
    return correlation if isinstance(correlation, str) else None
