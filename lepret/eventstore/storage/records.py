"""Stored events."""

from typing import NamedTuple

NO_NAME = ""
"""The stream of empty records, which appends of no events leave: nobody can name it or read it."""


class Record(NamedTuple):
    """A stored event."""

    position: int
    stream: str
    revision: int
    type: str
    response: bytes
    """The serialised `ReadResp` that reads send."""
