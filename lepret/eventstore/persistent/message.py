"""An event on its way to a subscriber."""

from dataclasses import dataclass
from uuid import UUID


@dataclass(slots=True, eq=False)
class Message:
    """An event that a group has read and has not done with yet.

    The event itself is dropped once it was sent: whoever sends it again reads it again.
    """

    id: UUID
    """What subscribers call it by; for a resolved link that is the link's id."""
    number: int
    """Its place in what the group reads; for a replayed message, among the parked ones."""
    position: int
    """Its place in the log."""
    pin: str
    """What it has in common with the messages that should go to the same subscriber."""
    link: bytes
    """What a link to it says."""
    response: bytes | None
    replayed: bool = False
    """Whether it was parked and is to be tried anew."""
    retries: int = 0

    @property
    def size(self) -> int:
        """Bytes that it holds in memory, but for a small constant."""
        return 0 if self.response is None else len(self.response)
