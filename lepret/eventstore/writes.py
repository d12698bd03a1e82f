"""What a client asks to write, and the possible outcomes."""

from dataclasses import dataclass
from enum import Enum
from uuid import UUID

MAX_APPEND_SIZE = 1024 * 1024
"""Bytes in one append, as `ProposedEvent.size` counts them."""

MAX_APPEND_EVENTS = 20_000
"""Events in one append; without data, many more would have `MAX_APPEND_SIZE`."""

MAX_NAME = 2048
"""Characters of a stream's name, a group's name and an event's type."""

MAX_STREAM_METADATA = 256 * 1024
"""Bytes of a stream's metadata, which every read of the stream and every append to it parses."""


class Expectation(Enum):
    """What a client may expect of a stream instead of a revision, by the protocol's names."""

    ANY = "any"
    NO_STREAM = "no_stream"
    STREAM_EXISTS = "stream_exists"


Expected = Expectation | int


@dataclass(frozen=True, slots=True)
class ProposedEvent:
    """An event that is not written yet: it has no revision and no position."""

    id: UUID
    type: str
    is_json: bool
    data: bytes
    metadata: bytes

    @property
    def size(self) -> int:
        """Bytes that count towards `MAX_APPEND_SIZE`: two for each character of the type."""
        return len(self.data) + len(self.metadata) + 2 * len(self.type)


@dataclass(frozen=True, slots=True)
class Append:
    """Events to write to one stream, all or none.

    Nothing may be written after ``deadline``, a time of `time.monotonic`.
    """

    stream: str
    expected: Expected
    events: tuple[ProposedEvent, ...]
    deadline: float | None = None


@dataclass(frozen=True, slots=True)
class Delete:
    """Hide the events of a stream; later appends may reopen it."""

    stream: str
    expected: Expected


@dataclass(frozen=True, slots=True)
class Tombstone:
    """Delete a stream permanently: nothing can be written to it again."""

    stream: str
    expected: Expected


Write = Append | Delete | Tombstone


@dataclass(frozen=True, slots=True)
class Appended:
    """The last event's revision and position; None if there is no such event."""

    revision: int | None
    position: int | None


@dataclass(frozen=True, slots=True)
class WrongExpectedVersion:
    """The stream's revision is ``current``, not the expected one; None means no stream."""

    current: int | None


@dataclass(frozen=True, slots=True)
class StreamDeleted:
    """The stream is deleted although it was expected to exist, or it is tombstoned."""


@dataclass(frozen=True, slots=True)
class DeadlinePassed:
    """The append's deadline passed before it was written."""


Outcome = Appended | WrongExpectedVersion | StreamDeleted | DeadlinePassed
