"""Stored events, as everything that reads the log passes them on."""

from typing import NamedTuple


class Record(NamedTuple):
    """A stored event: what filters look at, and the message to send."""

    position: int
    stream: str
    revision: int
    type: str
    response: bytes
