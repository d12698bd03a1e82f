"""The commands of a step that write and read streams."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import quote, unquote_to_bytes
from uuid import uuid4, uuid5

from esdbclient import EventStoreDBClient, NewEvent, RecordedEvent, StreamState

from tests.integration.lepret.eventstore.answers.telling import Position, Telling, Told
from tests.integration.lepret.eventstore.events import commit_position
from tests.support.processes import PATIENCE

VERSIONS = {"any": StreamState.ANY, "none": StreamState.NO_STREAM, "exists": StreamState.EXISTS}

_NO_LETTERS = "-"
_LITERAL = re.compile(r"-?[\d.]+|true|false")
_REPEATED = re.compile(r"(\w)\*(\d+)")
_NEVER_ENDS = 0.5
"""Seconds to wait for the answer to a read that never gets one."""


class Streams:
    """A step's streams. Each public method is a command."""

    def __init__(self, client: EventStoreDBClient) -> None:
        self._client = client
        self._salt = uuid4()
        self._own = f"answers-{self._salt}-"
        self._telling = Telling(self._own)
        self._positions: dict[str, int] = {}
        self._expected: Told = None
        """The expected answer to the current command: how much there is to wait for."""
        self.on()

    # Where --------------------------------------------------------------------------

    def on(self, name: str = "", same_ids: str = "") -> None:
        """Go to a stream; dollars go before what all names have. Ids are a stream's own."""
        text = _decoded(name).decode()
        plain = text.lstrip("$")
        self._stream = text.removesuffix(plain) + self._own + plain
        if not same_ids:
            self._scope = self._stream

    def raw(self, name: str = "") -> None:
        """Go to the stream of exactly that name."""
        self._stream = name

    # Writing ------------------------------------------------------------------------

    def append(self, letters: str, version: str = "any", **fields: str) -> Position:
        """One letter as an event alone, several as a list."""
        if len(letters) > 1:
            return self.appends(letters, version, **fields)
        return self._appended(self._event(letters, **fields), version)

    def appends(self, letters: Sequence[str], version: str = "any", **fields: str) -> Position:
        """A list of events, or of none."""
        wanted = [letter for letter in letters if letter != _NO_LETTERS]
        events = [self._event(letter, **fields) for letter in wanted]
        return self._appended(events, version)

    def flood(self, first: str, end: str) -> None:
        """Many events, fifty at a time."""
        for start in range(int(first), int(end), 50):
            self.appends([str(number) for number in range(start, start + 50)])

    def link(self, letter: str, target: str) -> Position:
        """A link to another stream of the step."""
        return self.append(letter, type="$>", data=quote(target.replace("@", f"@{self._own}")))

    def delete(self, version: str = "any") -> None:
        self._client.delete_stream(
            self._stream, current_version=_version(version), timeout=PATIENCE
        )

    def tombstone(self, version: str = "any") -> None:
        self._client.tombstone_stream(
            self._stream, current_version=_version(version), timeout=PATIENCE
        )

    def setmeta(self, text: str, version: str = "any") -> None:
        self._client.set_stream_metadata(
            self._stream,
            metadata=json.loads(text),
            current_version=_version(version),
            timeout=PATIENCE,
        )

    def wait(self, seconds: str) -> None:
        """Let events grow old."""
        time.sleep(float(seconds))

    # Reading ------------------------------------------------------------------------

    def read(self, **options: str) -> list[RecordedEvent]:
        return self._learned(self._client.get_stream(self._stream, **self._options(options)))

    def full(self) -> list[dict[str, object]]:
        """The events with all that was written."""
        fields = ("type", "data", "metadata", "content_type")
        return [{"event": e} | {name: getattr(e, name) for name in fields} for e in self.read()]

    def version(self) -> StreamState | int:
        return self._client.get_current_version(self._stream, timeout=PATIENCE)

    def meta(self) -> tuple[object, object]:
        return self._client.get_stream_metadata(self._stream, timeout=PATIENCE)

    def all(self, **options: str) -> list[RecordedEvent]:
        """The step's events in `$all`, which must come in its order."""
        found = self._client.read_all(**self._filtered(options))
        events = self._learned([event for event in found if self._own in event.stream_name])
        places = [commit_position(event.link or event) for event in events]
        assert places in (sorted(set(places)), sorted(set(places), reverse=True))
        return events

    def position(self, **options: str) -> Position:
        return Position(self._client.get_commit_position(**self._options(options)))

    # Private ------------------------------------------------------------------------

    def _appended(self, events: NewEvent | list[NewEvent], version: str) -> Position:
        position = self._client.append_to_stream(
            self._stream, current_version=_version(version), events=events, timeout=PATIENCE
        )
        for event in [events] if isinstance(events, NewEvent) else events[-1:]:
            self._positions[self._telling.letters[event.id]] = position
        return Position(position)

    def _event(self, letter: str, type: str = "CfEvent", **fields: Any) -> NewEvent:  # noqa: A002
        event_id = uuid5(self._salt, f"{self._scope}/{letter}")
        self._telling.letters[event_id] = letter
        return NewEvent(
            id=event_id,
            type=_decoded(type).decode(),
            data=_decoded(fields.pop("data", f'"{letter}"')),
            metadata=_decoded(fields.pop("metadata", "")),
            **fields,
        )

    def _learned(self, events: Iterable[RecordedEvent]) -> list[RecordedEvent]:
        learned = list(events)
        for event in learned:
            self._telling.learn(event)
        return learned

    def _filtered(self, options: dict[str, str]) -> dict[str, Any]:
        """Options on the step's streams only, if no other filter is wanted; see `_options`."""
        if not any("filter" in name for name in options):
            options |= {"filter_include": "OWN.*", "filter_by_stream_name": "true"}
        options.pop("filters", None)
        return self._options(options)

    def _options(self, options: dict[str, str]) -> dict[str, Any]:
        """Keywords for the client; @b is the position of event b, OWN any stream of the step."""
        keywords = {name: self._keyword(name, text) for name, text in options.items()}
        return {"timeout": _NEVER_ENDS if options.get("limit") == "0" else PATIENCE} | keywords

    def _keyword(self, name: str, text: str) -> object:
        if name in {"filter_include", "filter_exclude"}:
            return [part for part in text.replace("OWN", f".*{self._own}").split(",") if part]
        if text.startswith("@"):
            return self._positions[text[1:]]
        return json.loads(text) if _LITERAL.fullmatch(text) else text


def _version(text: str) -> StreamState | int:
    return VERSIONS[text] if text in VERSIONS else int(text)


def _decoded(text: str) -> bytes:
    """What a word of a command stands for: %20 is a blank, x*3 is xxx."""
    if text == "every-byte":
        return bytes(range(256))
    many = _REPEATED.fullmatch(text)
    return many[1].encode() * int(many[2]) if many else unquote_to_bytes(text)
