"""Protocol messages: responses are built and requests are parsed here."""

from collections.abc import Callable
from typing import Any, TypeVar
from uuid import UUID

from esdbclient.protos.Grpc import shared_pb2, streams_pb2
from google.protobuf.message import DecodeError, Message

from lepret.eventstore.newer_messages import Checkpoint, Reached
from lepret.eventstore.rpc import bad_request, handler_failed
from lepret.eventstore.writes import MAX_NAME, ProposedEvent

M = TypeVar("M", bound=Message)

JSON = "application/json"
BINARY = "application/octet-stream"

MAX_NUMBER = 2**63 - 1
"""The largest revision and position; the protocol's integers allow larger ones."""

END_NUMBER = 2**64 - 1
"""A revision, or position, that means the end."""


def event_response(
    event: ProposedEvent, stream: str, revision: int, position: int, created: int
) -> bytes:
    """Serialise an event as the response with which reads answer.
    ``created`` is in ticks of 100 ns since 1970, as clients expect it.
    """
    response = streams_pb2.ReadResp()
    # Filled in place: nested messages that are passed in would be copied.
    response.event.commit_position = position
    recorded = response.event.event
    recorded.id.string = str(event.id)
    recorded.stream_identifier.stream_name = stream.encode()
    recorded.stream_revision = revision
    recorded.prepare_position = position
    recorded.commit_position = position
    recorded.metadata["type"] = event.type
    recorded.metadata["content-type"] = JSON if event.is_json else BINARY
    recorded.metadata["created"] = str(created)
    recorded.custom_metadata = event.metadata
    recorded.data = event.data
    return response.SerializeToString()


Encoding = Callable[[list[bytes]], list[bytes]]
"""Converts stored responses to the form that a client has asked for."""


def as_stored(responses: list[bytes]) -> list[bytes]:
    """Leave ids as text, as nearly all clients want them."""
    return responses


def with_structured_ids(responses: list[bytes]) -> list[bytes]:
    """Write ids as two integers, for clients that ask for it. Slow: it parses each response."""
    return [_with_structured_id(response) for response in responses]


def _with_structured_id(serialised: bytes) -> bytes:
    response = streams_pb2.ReadResp.FromString(serialised)
    if response.WhichOneof("content") != "event":
        return serialised
    for part in ("event", "link"):
        if response.event.HasField(part):
            identifier = getattr(response.event, part).id
            identifier.structured.CopyFrom(_structured(UUID(identifier.string)))
    return response.SerializeToString()


def data_of(response: bytes) -> bytes:
    """The data of a stored event."""
    return streams_pb2.ReadResp.FromString(response).event.event.data


def json_of(response: bytes) -> bytes | None:
    """The data of a stored event; None if the client did not call them JSON."""
    event = streams_pb2.ReadResp.FromString(response).event.event
    return event.data if event.metadata["content-type"] == JSON else None


def resolved_link(link: bytes, event: bytes | None) -> bytes:
    """A stored link, resolved to its event; ``event`` is None if the event does not exist."""
    response = streams_pb2.ReadResp.FromString(link)
    response.event.link.CopyFrom(response.event.event)
    if event is None:
        response.event.ClearField("event")
    else:
        response.event.event.CopyFrom(streams_pb2.ReadResp.FromString(event).event.event)
    return response.SerializeToString()


def confirmation(subscription_id: str) -> bytes:
    """The first message of a subscription."""
    return streams_pb2.ReadResp(
        confirmation=streams_pb2.ReadResp.SubscriptionConfirmation(subscription_id=subscription_id)
    ).SerializeToString()


def checkpoint(position: int) -> bytes:
    """Tells a filtered subscription how far the log has been searched."""
    searched = _stamped(Checkpoint(commit_position=position, prepare_position=position))
    return streams_pb2.ReadResp(
        checkpoint=streams_pb2.ReadResp.Checkpoint.FromString(searched)
    ).SerializeToString()


def caught_up(reached: bytes) -> bytes:
    """Tells a subscription that it is live now."""
    return streams_pb2.ReadResp(
        caught_up=streams_pb2.ReadResp.CaughtUp.FromString(reached)
    ).SerializeToString()


def fell_behind(reached: bytes) -> bytes:
    """Tells a subscription that it was too slow and reads history again."""
    return streams_pb2.ReadResp(
        fell_behind=streams_pb2.ReadResp.FellBehind.FromString(reached)
    ).SerializeToString()


def reached_in_all(position: int) -> bytes:
    """How far a subscription to `$all` has come."""
    return _stamped(Reached(position={"commit_position": position, "prepare_position": position}))


def reached_in_stream(revision: int) -> bytes:
    """How far a subscription to a stream has come; -1 before the first event."""
    return _stamped(Reached() if revision < 0 else Reached(stream_revision=revision))


def _stamped(message: Any) -> bytes:
    message.timestamp.GetCurrentTime()
    serialised: bytes = message.SerializeToString()
    return serialised


def stream_not_found(stream: str) -> bytes:
    """The answer to a read of a stream that does not exist."""
    return streams_pb2.ReadResp(
        stream_not_found=streams_pb2.ReadResp.StreamNotFound(
            stream_identifier=shared_pb2.StreamIdentifier(stream_name=stream.encode())
        )
    ).SerializeToString()


def parse(message_class: type[M], serialised: bytes) -> M:
    """Parse a client's message. Raises Refusal (INVALID_ARGUMENT) if it is malformed."""
    try:
        return message_class.FromString(serialised)
    except DecodeError:
        raise bad_request("The request is not a valid message.") from None


def stream_name(identifier: shared_pb2.StreamIdentifier) -> str:
    """The stream that a client names. Raises Refusal (INVALID_ARGUMENT, UNKNOWN without a name)."""
    try:
        name = identifier.stream_name.decode()
    except UnicodeDecodeError:
        raise bad_request("The stream name is not UTF-8.") from None
    if not name:
        raise handler_failed("The stream name is missing.")
    return name


def bounded_name(name: str) -> str:
    """A name to be stored. Raises Refusal (INVALID_ARGUMENT) if it is too long."""
    # A stream that may exist may have metadata.
    if len(name.removeprefix("$$")) > MAX_NAME:
        raise bad_request(f"A name may have {MAX_NAME} characters.")
    return name


def bounded_number(number: int) -> int:
    """A revision or position from a client. Raises Refusal (UNKNOWN) if none can be so large."""
    if number > MAX_NUMBER:
        raise handler_failed("A revision or position is too large.")
    return number


def uuid(value: shared_pb2.UUID) -> UUID:
    """An id in either of its two forms. Raises Refusal (INVALID_ARGUMENT)."""
    if value.WhichOneof("value") == "structured":
        high = value.structured.most_significant_bits & 0xFFFFFFFFFFFFFFFF
        low = value.structured.least_significant_bits & 0xFFFFFFFFFFFFFFFF
        return UUID(int=high << 64 | low)
    try:
        return UUID(value.string)
    except ValueError:
        raise bad_request("An id is not a UUID.") from None


def _structured(identifier: UUID) -> shared_pb2.UUID.Structured:
    return shared_pb2.UUID.Structured(
        most_significant_bits=_signed(identifier.int >> 64),
        least_significant_bits=_signed(identifier.int & 0xFFFFFFFFFFFFFFFF),
    )


def _signed(bits: int) -> int:
    return bits - (1 << 64) if bits >> 63 else bits
