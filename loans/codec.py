"""Domain event <-> what the event store keeps: a type name, JSON data, JSON metadata.

Old versions of an event are upcast when they are read and never rewritten. Types that this version
does not know, and fields that it does not know, are passed over: a newer version may be running.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, get_args
from uuid import UUID, uuid5

from loans.domain.events import Event, LoanEvent

_CLASSES: Final[dict[str, type[LoanEvent]]] = {
    event_class.__name__: event_class for event_class in get_args(LoanEvent)
}

Upcaster = Callable[[dict[str, Any]], dict[str, Any]]

# (type name, version) -> what turns that version's data into the next one's.
UPCASTERS: Final[dict[tuple[str, int], Upcaster]] = {}

STREAM_PREFIX: Final = "LoanRequest:"


@dataclass(frozen=True)
class Encoded:
    """One event in the form in which it is stored."""

    id: UUID
    type: str
    data: bytes
    metadata: bytes


def stream_name(loan_request_id: UUID) -> str:
    """The stream of one loan request."""
    return f"{STREAM_PREFIX}{loan_request_id}"


def encode(event: LoanEvent, *, command_id: UUID, user: str) -> Encoded:
    """`event` with an id derived from its command, so that a repeated command repeats the id.

    `$correlationId` and `$causationId` are the names that EventStoreDB's own projections use.
    """
    event_type = type(event).__name__
    metadata = {
        "$correlationId": str(event.id),
        "$causationId": str(command_id),
        "user": user,
        "schemaVersion": event.SCHEMA_VERSION,
    }
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
    """The domain event that was stored, or `None` for a type that this version does not know.

    Raises:
        pydantic.ValidationError: the data is not what an event of this type has.
    """
    event_class = _CLASSES.get(event_type)
    if event_class is None:
        return None
    version = schema_version(metadata)
    if version >= event_class.SCHEMA_VERSION:
        return event_class.model_validate_json(data)
    return event_class.model_validate(_upcast(event_class, version, json.loads(data), upcasters))


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


def read_metadata(metadata: bytes) -> dict[str, Any]:
    """An event's metadata; empty where there is none, or where it is no JSON object."""
    try:
        values = json.loads(metadata or b"{}")
    except ValueError:
        return {}
    return values if isinstance(values, dict) else {}
