"""A message: an event that a group delivers."""

from dataclasses import dataclass
from uuid import UUID


@dataclass(slots=True, eq=False)
class Message:
    """An event that a group has read and that is not done.

    The event itself is dropped once it was sent, and read again for a retry.
    """

    id: UUID
    """The id in acks and nacks; for a resolved link, the link's id."""
    number: int
    """Its position or revision in what the group reads; if replayed, in the parked stream."""
    position: int
    """Its position in the log."""
    pin: str
    """Messages with the same pin should go to the same subscriber."""
    link: bytes
    """The data of a link to it."""
    response: bytes | None
    """The event as `Record.response`; None once it was sent."""
    replayed: bool = False
    """Whether it was parked, and is delivered again."""
    retries: int = 0

    @property
    def size(self) -> int:
        """Bytes of its event in memory."""
        return 0 if self.response is None else len(self.response)
