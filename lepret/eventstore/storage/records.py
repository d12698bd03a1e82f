"""Stored events."""

from typing import NamedTuple


class Record(NamedTuple):
    """A stored event."""

    position: int
    stream: str
    revision: int
    type: str
    response: bytes
    """The serialised `ReadResp` that reads send."""
