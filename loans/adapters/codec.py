"""Encodes events for the event store (type name, JSON data and metadata), and decodes them.

Old versions of an event are upcast when they are read; stored events are never rewritten. Fields
that this version of the program does not know are ignored. An event of a type, or of a schema, that
it does not know is one that a newer version has written: nobody may go on as if it was not there
(docs/decisions/0034-an-older-version-stands-aside.md).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final, Generic, TypeVar, get_args
from uuid import UUID, uuid5

from esdbclient import RecordedEvent
from pydantic import TypeAdapter

from loans.domain.events import (
    CreditChecked,
    Event,
    LoanEvent,
    LoanRequested,
    LossEvent,
    PolicyEvent,
    ReservationEvent,
)

E = TypeVar("E", bound=Event)

LOAN_EVENTS: Final[Mapping[str, type[LoanEvent]]] = {
    each.__name__: each for each in get_args(LoanEvent)
}
RESERVATION_EVENTS: Final[Mapping[str, type[ReservationEvent]]] = {
    each.__name__: each for each in get_args(ReservationEvent)
}
LOSS_EVENTS: Final[Mapping[str, type[LossEvent]]] = {
    each.__name__: each for each in get_args(LossEvent)
}
POLICY_EVENTS: Final[Mapping[str, type[PolicyEvent]]] = {
    each.__name__: each for each in get_args(PolicyEvent)
}
# What read models are built from.
PROJECTED_EVENTS: Final[Mapping[str, type[LoanEvent | LossEvent | PolicyEvent]]] = {
    **LOAN_EVENTS,
    **LOSS_EVENTS,
    **POLICY_EVENTS,
}

Upcaster = Callable[[dict[str, Any]], dict[str, Any]]


def _as_it_is(data: dict[str, Any]) -> dict[str, Any]:
    """For a version that only adds fields, whose defaults say what held before."""
    return data


def _with_requested_at(data: dict[str, Any]) -> dict[str, Any]:
    # The applicant had applied a little earlier, which nothing tells that was stored.
    return data | {"requested_at": data.get("occurred_at")}


def _with_reasons(data: dict[str, Any]) -> dict[str, Any]:
    others = {name: value for name, value in data.items() if name != "reason"}
    return others | {"reasons": [data.get("reason")]}


# By type name and version. Each upcaster turns the data of its version into that of the next one.
UPCASTERS: Final[Mapping[tuple[str, int], Upcaster]] = {
    ("CreditChecked", 1): _as_it_is,
    ("AutoApproved", 1): _as_it_is,
    ("AutoDenied", 1): _as_it_is,
    ("ManualReviewRequired", 1): _with_requested_at,
    ("ManuallyApproved", 1): _as_it_is,
    ("ManuallyDenied", 1): _with_reasons,
}

STREAM_PREFIX: Final = "LoanRequest:"
RESERVATION_PREFIX: Final = "Reservation:"
LOSS_PREFIX: Final = "LostLoanRequest:"
POLICY_NAME: Final = "Policy:lending"

_RESERVATION_NAME: Final = re.compile(rf"{RESERVATION_PREFIX}[0-9a-f]{{64}}")

# EventStoreDB's own name, and its types for what an operator has done to a stream.
METADATA_PREFIX: Final = "$$"
METADATA_TYPE: Final = "$metadata"
TOMBSTONE_TYPE: Final = "$streamDeleted"

CONTENT_TYPE: Final = "application/json"

# In the metadata of an application's events, where its credit report was recorded with it.
_SCORED_AT_ONCE: Final = "scoredAtOnce"

_JSON_OBJECT: Final = TypeAdapter(dict[str, Any])
_LONGEST_TYPE: Final = 200
_HIGHEST_SCHEMA_VERSION: Final = 2**31 - 1


class WrittenByNewerVersion(Exception):
    """Only a newer version of the program knows this type of event, or this schema of it."""

    def __init__(self, event_type: str, version: int) -> None:
        super().__init__(f"{event_type}, schema {version}, was written by a newer version")
        self.event_type = event_type
        self.version = version


@dataclass(frozen=True)
class StreamId(Generic[E]):
    """A stream's name, and the classes of its events by type name.

    `needs_all` is false if its last event alone says how it stands.
    """

    name: str
    classes: Mapping[str, type[E]]
    needs_all: bool = True


@dataclass(frozen=True)
class Encoded:
    """An event as the event store keeps it."""

    id: UUID
    type: str
    data: bytes
    metadata: bytes


def stream_name(loan_request_id: UUID) -> str:
    """The name of a loan request's stream."""
    return f"{STREAM_PREFIX}{loan_request_id}"


def loan_request_id(name: str, *, prefix: str = STREAM_PREFIX) -> UUID:
    """The id of the loan request whose stream has this name.

    Raises:
        ValueError: it is not the stream of a loan request.
    """
    id_ = name[len(prefix) :]
    # `UUID` also takes capitals, braces and more: those are the streams of others.
    if not name.startswith(prefix) or str(loan_request_id := UUID(id_)) != id_:
        raise ValueError("not the stream of a loan request")
    return loan_request_id


def is_loan_event(event: RecordedEvent) -> bool:
    """Whether it is an event of a loan request.

    Another application that uses the same event store may have events of the same types.
    """
    try:
        loan_request_id(event.stream_name)
    except ValueError:
        return False
    return event.type in LOAN_EVENTS and event.content_type == CONTENT_TYPE


def is_scored_at_once(event: RecordedEvent) -> bool:
    """Whether it was recorded in one append with an application and its credit report.

    If not, or if an older version of the program has recorded it, only the stream can tell.
    """
    return read_metadata(event.metadata).get(_SCORED_AT_ONCE) is True


def is_left_to_workers(event: RecordedEvent) -> bool:
    """Whether it is of a request of which the web server may not have done all at once.

    A request that it scores it also passes on or decides, and then it releases the reservation.
    """
    return is_loan_event(event) and not is_scored_at_once(event)


def is_reservation_name(name: str) -> bool:
    """Whether it is the stream of a person's reservation."""
    return _RESERVATION_NAME.fullmatch(name) is not None


def is_reservation_event(event: RecordedEvent) -> bool:
    """Whether it is an event of a person's reservation, as `is_loan_event`."""
    is_ours = is_reservation_name(event.stream_name)
    return is_ours and event.type in RESERVATION_EVENTS and event.content_type == CONTENT_TYPE


def without_payload(event: RecordedEvent) -> RecordedEvent:
    """The event without data and metadata, of which others' may have megabytes."""
    return replace(event, data=b"", metadata=b"")


def is_loss_name(name: str) -> bool:
    """Whether it is the stream that says whether the stream of a loan request is gone."""
    try:
        loan_request_id(name, prefix=LOSS_PREFIX)
    except ValueError:
        return False
    return True


def is_loss_or_policy_name(name: str) -> bool:
    """Whether it is a stream that read models are built from, beside those of loan requests."""
    return is_loss_name(name) or name == POLICY_NAME


def is_loss_event(event: RecordedEvent) -> bool:
    """Whether it says that the stream of a loan request is gone, or back, as `is_loan_event`."""
    is_ours = is_loss_name(event.stream_name)
    return is_ours and event.type in LOSS_EVENTS and event.content_type == CONTENT_TYPE


def is_policy_event(event: RecordedEvent) -> bool:
    """Whether it is an event of the lending policy, as `is_loan_event`."""
    is_ours = event.stream_name == POLICY_NAME
    return is_ours and event.type in POLICY_EVENTS and event.content_type == CONTENT_TYPE


def metadata_stream_name(name: str) -> str:
    """The stream in which EventStoreDB keeps what an operator has set for a stream."""
    return f"{METADATA_PREFIX}{name}"


def is_truncated_by(metadata: bytes) -> bool:
    """Whether a stream's metadata hide its first events, as they do once it was deleted."""
    before = read_metadata(metadata).get("$tb")
    return isinstance(before, int) and before > 0


def max_age_in(metadata: bytes) -> timedelta | None:
    """After how long a stream's metadata hide its events; `None` if they do not."""
    seconds = read_metadata(metadata).get("$maxAge")
    try:
        return timedelta(seconds=seconds) if isinstance(seconds, int) and seconds > 0 else None
    except OverflowError:
        return None


def loan_request_stream(loan_request_id: UUID) -> StreamId[LoanEvent]:
    """The stream of a loan request."""
    return StreamId(stream_name(loan_request_id), LOAN_EVENTS)


def reservation_stream(name: str) -> StreamId[ReservationEvent]:
    """The stream of a person's reservation."""
    return StreamId(name, RESERVATION_EVENTS, needs_all=False)


def loss_stream(loan_request_id: UUID) -> StreamId[LossEvent]:
    """The stream that says whether the stream of a loan request is gone."""
    return StreamId(f"{LOSS_PREFIX}{loan_request_id}", LOSS_EVENTS, needs_all=False)


POLICY_STREAM: Final = StreamId(POLICY_NAME, POLICY_EVENTS)
"""The stream of the lending policy."""


def encode_all(events: Sequence[Event], *, command_id: UUID, user: str) -> list[Encoded]:
    """Encode the events of one append."""
    types = {type(event) for event in events}
    at_once = types.issuperset((LoanRequested, CreditChecked))
    return [
        encode(event, command_id=command_id, user=user, scored_at_once=at_once) for event in events
    ]


def encode(event: Event, *, command_id: UUID, user: str, scored_at_once: bool = False) -> Encoded:
    """Encode an event. Its id is derived from the command, and the same each time.

    `$correlationId` and `$causationId` are the names that EventStoreDB's own projections use.
    """
    event_type = type(event).__name__
    metadata = {
        "$correlationId": str(event.id),
        "$causationId": str(command_id),
        "user": user,
        "schemaVersion": event.SCHEMA_VERSION,
    }
    if scored_at_once:
        metadata[_SCORED_AT_ONCE] = True
    return Encoded(
        id=uuid5(command_id, event_type),
        type=event_type,
        data=event.model_dump_json().encode(),
        metadata=json.dumps(metadata).encode(),
    )


def decode(
    event_type: str,
    data: bytes,
    metadata: bytes = b"",
    *,
    upcasters: Mapping[tuple[str, int], Upcaster] = UPCASTERS,
) -> LoanEvent | None:
    """The loan event that was stored, or `None` for a type that is not ours.

    Raises:
        WrittenByNewerVersion: only a newer version of the program can read it.
        pydantic.ValidationError: the data does not fit an event of this type.
    """
    return decode_as(LOAN_EVENTS, event_type, data, metadata, upcasters=upcasters)


def decode_as(
    classes: Mapping[str, type[E]],
    event_type: str,
    data: bytes,
    metadata: bytes,
    *,
    upcasters: Mapping[tuple[str, int], Upcaster] = UPCASTERS,
) -> E | None:
    """The stored event, or `None` if its type is not one of ours; raises as `decode`."""
    event_class = classes.get(event_type)
    if event_class is None:
        if _is_named_as_ours(event_type, metadata):
            raise WrittenByNewerVersion(event_type, schema_version(metadata))
        return None
    version = schema_version(metadata)
    if version > event_class.SCHEMA_VERSION:
        raise WrittenByNewerVersion(event_type, version)
    if version == event_class.SCHEMA_VERSION:
        return event_class.model_validate_json(data)
    return event_class.model_validate(
        _upcast(event_class, version, _JSON_OBJECT.validate_json(data), upcasters)
    )


def _is_named_as_ours(event_type: str, metadata: bytes) -> bool:
    """Whether a type's name, and the version of its schema, are such as this program writes."""
    version = read_metadata(metadata).get("schemaVersion")
    is_version = type(version) is int and 1 <= version <= _HIGHEST_SCHEMA_VERSION
    return is_version and event_type.isidentifier() and len(event_type) <= _LONGEST_TYPE


def is_of_newer_type(event_type: str, metadata: bytes) -> bool:
    """Whether only a newer version of the program knows the type of an event in our streams."""
    return event_type not in PROJECTED_EVENTS and _is_named_as_ours(event_type, metadata)


def can_read(event_type: str, version: int) -> bool:
    """Whether projections of this version of the program can take an event of this schema."""
    event_class = PROJECTED_EVENTS.get(event_type)
    return event_class is not None and version <= event_class.SCHEMA_VERSION


def _upcast(
    event_class: type[Event],
    version: int,
    data: dict[str, Any],
    upcasters: Mapping[tuple[str, int], Upcaster],
) -> dict[str, Any]:
    for step in range(version, event_class.SCHEMA_VERSION):
        data = upcasters[event_class.__name__, step](data)
    return data


def schema_version(metadata: bytes) -> int:
    """The version in an event's metadata; 1 where it names none."""
    return int(read_metadata(metadata).get("schemaVersion", 1))


def command_id(metadata: bytes) -> UUID | None:
    """The id of the command that caused an event, if the metadata names it."""
    try:
        return UUID(str(read_metadata(metadata).get("$causationId")))
    except ValueError:
        return None


def read_metadata(metadata: bytes) -> dict[str, Any]:
    """An event's metadata; empty if there is none, or if it is not a JSON object."""
    try:
        values = json.loads(metadata or b"{}")
    except (ValueError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}
