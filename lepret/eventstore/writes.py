"""What a client asks to write, and the possible outcomes."""

from dataclasses import dataclass
from enum import Enum
from uuid import UUID

MAX_APPEND_SIZE = 1024 * 1024
"""Bytes in one append, counted as `Append.size` counts them."""


class Expectation(Enum):
    """What a client may expect of a stream instead of a revision, as the protocol names it."""

    ANY = "any"
    NO_STREAM = "no_stream"
    STREAM_EXISTS = "stream_exists"


Expected = Expectation | int


@dataclass(frozen=True, slots=True)
class ProposedEvent:
    """An event that has no revision and no position yet."""

    id: UUID
    type: str
    is_json: bool
    data: bytes
    metadata: bytes

    @property
    def size(self) -> int:
        """Bytes towards the maximum append size; a character of the type counts as two."""
        return len(self.data) + len(self.metadata) + 2 * len(self.type)


@dataclass(frozen=True, slots=True)
class Append:
    """Events to write to one stream, all or none.

    ``deadline`` is a reading of `time.monotonic` after which nothing may be written.
    """

    stream: str
    expected: Expected
    events: tuple[ProposedEvent, ...]
    deadline: float | None = None


@dataclass(frozen=True, slots=True)
class Delete:
    """Hide the events of a stream; appends may begin it anew."""

    stream: str
    expected: Expected


@dataclass(frozen=True, slots=True)
class Tombstone:
    """End a stream for good."""

    stream: str
    expected: Expected


Write = Append | Delete | Tombstone


@dataclass(frozen=True, slots=True)
class Appended:
    """The last event's revision and position; None where nothing was ever written."""

    revision: int | None
    position: int | None


@dataclass(frozen=True, slots=True)
class WrongExpectedVersion:
    """The stream is at ``current``, which is not as expected; None means no stream."""

    current: int | None


@dataclass(frozen=True, slots=True)
class StreamDeleted:
    """The stream is deleted, which is not as expected, or has ended for good."""


@dataclass(frozen=True, slots=True)
class DeadlinePassed:
    """The append waited beyond its deadline; nothing was written."""


Outcome = Appended | WrongExpectedVersion | StreamDeleted | DeadlinePassed
