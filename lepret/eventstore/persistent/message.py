"""A message: an event that a group delivers."""

from dataclasses import dataclass
from uuid import UUID


@dataclass(slots=True, eq=False)
class Message:
    """An event that a group has read and not finished.

    The event itself leaves memory once it is sent, and is read again for a retry.
    """

    id: UUID
    """The id in acks and nacks; for a resolved link, the link's id."""
    number: int
    """Its position or revision (see `GroupSettings`); if replayed, that in the parked stream."""
    position: int
    """Its position in the log."""
    pin: str
    """Messages with the same pin should go to the same subscriber."""
    link: bytes
    """The data of a link event that refers to it."""
    response: bytes | None
    """The event as `Record.response`; None once it is sent."""
    revision: int = 0
    """Its own in its stream, or the link's."""
    replayed: bool = False
    """Whether it was parked and is now replayed."""
    retries: int = 0

    @property
    def size(self) -> int:
        """Bytes of its event in memory."""
        return 0 if self.response is None else len(self.response)
