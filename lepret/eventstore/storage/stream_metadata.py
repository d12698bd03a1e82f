"""Stream metadata: the last event of the stream `$$name` applies to the stream `name`."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

METADATA_TYPE = "$metadata"

DELETED = 2**63 - 1
"""The `$tb` of a deleted stream."""

_METASTREAM_PREFIX = "$$"
_TICKS_PER_SECOND = 10_000_000
_LONGEST_AGE = (2**63 - 1) // _TICKS_PER_SECOND
"""Seconds that EventStoreDB can count. It takes a longer `$maxAge` as invalid."""


@dataclass(frozen=True, slots=True)
class StreamMetadata:
    """Which events of a stream can be read. Scavenging removes the others."""

    max_count: int | None = None
    max_age: int | None = None
    """Seconds."""
    truncate_before: int = 0
    """The first revision that can be read."""

    @property
    def is_deleted(self) -> bool:
        """Whether the stream was deleted and nothing was appended since."""
        return self.truncate_before == DELETED

    def first_revision(self, last_revision: int) -> int:
        """The first readable revision of a stream whose last one is ``last_revision``."""
        if self.max_count is None:
            return self.truncate_before
        return max(self.truncate_before, last_revision - self.max_count + 1)

    def oldest(self, now: int) -> int:
        """The earliest creation time of a readable event; in ticks of 100 ns, like ``now``."""
        return 0 if self.max_age is None else max(0, now - self.max_age * _TICKS_PER_SECOND)


NO_METADATA = StreamMetadata()
OF_METASTREAMS = StreamMetadata(max_count=1)
"""Only the newest event of a metastream can be read."""


def metastream_of(stream: str) -> str:
    """The stream that holds the metadata of ``stream``."""
    return _METASTREAM_PREFIX + stream


def is_metastream(stream: str) -> bool:
    """Whether the stream holds another one's metadata."""
    return stream.startswith(_METASTREAM_PREFIX)


def original_of(stream: str) -> str | None:
    """The stream whose metadata ``stream`` holds; None if it is not a metastream."""
    return stream[len(_METASTREAM_PREFIX) :] if is_metastream(stream) else None


def parse_metadata(data: bytes) -> StreamMetadata:
    """Parse an event of a metastream.

    Clients may write anything there: invalid values count as absent.
    """
    fields = _fields(data)
    return StreamMetadata(
        max_count=_whole_number(fields, "$maxCount", at_least=1),
        max_age=_whole_number(fields, "$maxAge", at_least=1, at_most=_LONGEST_AGE),
        truncate_before=_whole_number(fields, "$tb", at_least=0) or 0,
    )


def deleting_metadata() -> bytes:
    """The metadata of a deleted stream."""
    return json.dumps({"$tb": DELETED}).encode()


def metadata_beginning_at(data: bytes, revision: int) -> bytes:
    """The same metadata, with events before ``revision`` hidden.

    What Python reads but cannot write as JSON, such as 1e999, is left out with all the rest.
    """
    beginning = {"$tb": revision}
    try:
        return json.dumps({**_fields(data), **beginning}, allow_nan=False).encode()
    except (ValueError, RecursionError):
        return json.dumps(beginning).encode()


def _fields(data: bytes) -> Mapping[str, object]:
    try:
        fields = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return fields if isinstance(fields, dict) else {}


def _whole_number(
    fields: Mapping[str, object], key: str, *, at_least: int, at_most: int = DELETED
) -> int | None:
    value = fields.get(key)
    # In Python, JSON's true is an int as well.
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    return value if at_least <= value <= at_most else None
