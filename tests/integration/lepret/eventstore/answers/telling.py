"""Tells the outcome of a command in terms that are the same for every run and every right server.

An event is told as ``stream#revision:letter``: the stream without the part of its name that all
streams of the step have; the letter that the step gave it, or its type as ``<type>``. Behind that,
``via`` and the link by which it was read, ``retry=`` and a number, ``!time`` if it was not recorded
now, ``!pos`` if it has two positions. A position is told as ``at`` an event of the step, or
``after`` the last one before it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import grpc
from esdbclient import CaughtUp, RecordedEvent, StreamState

Told = Any
"""What JSON can express."""

_RECENT = timedelta(minutes=5)
_LONG = 300
_REPORTED = re.compile(
    r"last event is (-?\d+)|Actual version: (-?\d+)|Max size is (\d+)|^Stream .* (does not exist)"
)


@dataclass(frozen=True)
class Position:
    """A commit position, which can be told once all events of the step are known."""

    value: int


@dataclass
class Telling:
    """Tells outcomes of one step."""

    own: str
    """What the names of all streams of the step have in them."""
    letters: dict[UUID, str] = field(default_factory=dict)
    places: dict[int, str] = field(default_factory=dict)
    """Events of the step by their positions."""

    def told(self, value: object) -> Told:
        """The outcome; positions in it are told by `placed`."""
        match value:
            case Mapping():
                return {key: self.told(item) for key, item in value.items()}
            case list() | tuple():
                return [self.told(item) for item in value]
            case _:
                return self._one(value)

    def _one(self, value: object) -> Told:
        match value:
            case RecordedEvent():
                return self._event(value)
            case Exception():
                return _error(value)
            case StreamState():
                return value.name
            case str():
                return self._text(value)
            case bytes():
                return _bytes(value)
            case _:
                return value

    def placed(self, told: Told) -> Told:
        """The outcome with its positions told as relations to events."""
        match told:
            case Position(value):
                return self._place(value)
            case Mapping():
                return {key: self.placed(item) for key, item in told.items()}
            case list():
                return [self.placed(item) for item in told]
            case _:
                return told

    def learn(self, event: RecordedEvent) -> None:
        """Remember where an event of the step is."""
        recorded = event.link or event
        if recorded.commit_position is not None:
            self.places[recorded.commit_position] = self._label(recorded)

    def _place(self, position: int) -> str:
        before = [place for place in self.places if place <= position]
        if not before:
            return "after others" if position else "zero"
        last = max(before)
        return f"{'at' if last == position else 'after'} {self.places[last]}"

    def _label(self, event: RecordedEvent) -> str:
        return f"{self._text(event.stream_name)}#{event.stream_position}"

    def _event(self, event: RecordedEvent) -> str:
        if isinstance(event, CaughtUp):
            return "caught up"
        letter = self.letters.get(event.id, f"<{self._text(event.type)}>")
        notes = [f"{self._label(event)}:{letter}"]
        if event.link is not None:
            notes.append(f"via {self._label(event.link)}")
        if event.retry_count:
            notes.append(f"retry={event.retry_count}")
        if event.commit_position is None or event.commit_position != event.prepare_position:
            notes.append("!pos")
        at = event.recorded_at
        if at is None or abs(datetime.now(UTC) - at) > _RECENT:
            notes.append("!time")
        return " ".join(notes)

    def _text(self, text: str) -> str:
        text = text.replace(self.own, "")
        return text if len(text) < _LONG else f"{text[:30]}... {len(text)} characters"


def _bytes(data: bytes) -> str:
    if data.isascii() and len(data) < 80:
        return data.decode()
    return f"{len(data)} bytes {hashlib.sha1(data, usedforsecurity=False).hexdigest()[:8]}"


def _error(error: Exception) -> dict[str, str]:
    """The class, the status of gRPC, and the version or limit that the text reports."""
    told = {"raised": type(error).__name__}
    causes: Sequence[object] = (*error.args[:1], error.__context__)
    for cause in causes:
        code: Callable[[], grpc.StatusCode] | None = getattr(cause, "code", None)
        if isinstance(cause, grpc.RpcError) and code is not None:
            told["grpc"] = code().name
            break
    found = _REPORTED.search(str(error))
    if found is not None:
        told["reported"] = next(filter(None, found.groups()))
    return told
