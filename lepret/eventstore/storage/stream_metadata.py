"""Stream metadata: the last event of the stream `$$name` applies to the stream `name`."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

METADATA_TYPE = "$metadata"

DELETED = 2**63 - 1
"""The `$tb` of a deleted stream."""

_METASTREAM_PREFIX = "$$"
_TICKS_PER_SECOND = 10_000_000
_LONGEST_AGE = (2**63 - 1) // _TICKS_PER_SECOND
"""Seconds that EventStoreDB can count. It takes a longer `$maxAge` as invalid."""

_JSON = json.JSONDecoder()
_COMMA_BEFORE_END = re.compile(r"\s*,\s*}")

_Long = Annotated[int, Field(ge=-(2**63), lt=2**63)]
_Seconds = Annotated[int, Field(ge=-_LONGEST_AGE, le=_LONGEST_AGE)]
_Roles = str | list[str]


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

    Clients may write anything there. As in EventStoreDB, one invalid system key makes all of them
    count as absent, while a limit that is merely too small counts as absent alone.
    """
    try:
        keys = _SystemKeys.model_validate(_leading_object(data))
    except (ValueError, RecursionError):
        return NO_METADATA
    return StreamMetadata(
        max_count=keys.max_count if keys.max_count > 0 else None,
        max_age=keys.max_age if keys.max_age > 0 else None,
        truncate_before=max(0, keys.truncate_before),
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


class _Acl(BaseModel):
    """Access-control lists: checked as EventStoreDB checks them, and not used."""

    model_config = ConfigDict(strict=True, extra="forbid")

    read: _Roles = Field("", alias="$r")
    write: _Roles = Field("", alias="$w")
    delete: _Roles = Field("", alias="$d")
    read_metadata: _Roles = Field("", alias="$mr")
    write_metadata: _Roles = Field("", alias="$mw")


class _SystemKeys(BaseModel):
    """The keys that EventStoreDB knows; all others are the client's own."""

    model_config = ConfigDict(strict=True)

    max_count: _Long = Field(0, alias="$maxCount")
    max_age: _Seconds = Field(0, alias="$maxAge")
    truncate_before: _Long = Field(0, alias="$tb")
    is_temporary: bool = Field(False, alias="$tmp")
    cache_control: _Seconds = Field(0, alias="$cacheControl")
    acl: _Acl = Field(_Acl(), alias="$acl")


def _fields(data: bytes) -> Mapping[str, object]:
    try:
        fields = _leading_object(data)
    except (ValueError, RecursionError):
        return {}
    return fields if isinstance(fields, dict) else {}


def _leading_object(data: bytes) -> object:
    """The JSON that data begin with; EventStoreDB reads no further, and takes a comma at its end.

    Raises ValueError, RecursionError.
    """
    text = data.decode("utf-8-sig", errors="replace").lstrip()
    try:
        return _JSON.raw_decode(text)[0]
    except json.JSONDecodeError as error:
        end = len(text[: error.pos].rstrip().removesuffix(",").rstrip())
        if not _COMMA_BEFORE_END.match(text, end):
            raise
        return _JSON.raw_decode(text[:end] + "}")[0]
