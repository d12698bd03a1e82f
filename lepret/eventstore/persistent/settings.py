"""The settings of a group, in the form that is stored in the log."""

from enum import StrEnum
from typing import Annotated, NamedTuple

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from lepret.eventstore.storage import filters

ALL = "$all"

END = -1
"""The start of a group that gets only events appended after its creation."""

_SMALLEST, _LARGEST = -(2**31), 2**31 - 1
"""The limits of numbers in the protocol's answers. EventStoreDB takes negative ones, too."""

Number = Annotated[int, Field(ge=0)]
Count = Annotated[int, Field(ge=_SMALLEST, le=_LARGEST)]
Milliseconds = Annotated[int, Field(ge=_SMALLEST, le=_LARGEST)]


class GroupName(NamedTuple):
    """The stream and the name that identify a group."""

    stream: str
    """The stream that the group reads, or `$all`."""
    group: str

    def __str__(self) -> str:
        return f"{self.stream}::{self.group}"


class _Stored(BaseModel):
    """Stored as JSON, with EventStoreDB's names."""

    model_config = ConfigDict(frozen=True, alias_generator=to_camel, populate_by_name=True)


class FilterContext(StrEnum):
    """The property of an event that a filter applies to."""

    EVENT_TYPE = "eventType"
    STREAM_NAME = "streamId"


class FilterSettings(_Stored):
    """The filter of a group on `$all`."""

    context: FilterContext
    prefixes: tuple[str, ...] = ()
    regex: str = ""
    """If there is one, the prefixes are ignored."""

    def build(self) -> filters.Filter:
        """The filter. Raises ValueError for an invalid regular expression."""
        matches = self._matches()
        if self.context is FilterContext.EVENT_TYPE:
            return filters.by_type(matches)
        return filters.by_stream(matches)

    def _matches(self) -> filters.Matches:
        if self.regex:
            return filters.by_regex(self.regex)
        return filters.by_prefix(self.prefixes)


class GroupSettings(_Stored):
    """A group's settings.

    The number of an event is its position if the group reads `$all`, otherwise its revision.
    """

    stream: Annotated[str, Field(min_length=1)]
    group: Annotated[str, Field(min_length=1)]
    filter: FilterSettings | None = None
    start_from: Annotated[int, Field(ge=END)]
    """The number of the first event, or END."""
    first_number: Number
    """The same number, but END was resolved when the settings were made."""
    resolve_link_tos: bool
    extra_statistics: bool
    message_timeout: Milliseconds
    max_retry_count: Count
    check_point_after: Milliseconds
    """The minimum time between checkpoints; with 0, only the maximum count causes them."""
    min_check_point_count: Count
    max_check_point_count: Count
    max_subscriber_count: Count
    """0 for no maximum."""
    live_buffer_size: Count
    read_batch_size: Count
    history_buffer_size: Count
    named_consumer_strategy: str

    @property
    def name(self) -> GroupName:
        return GroupName(self.stream, self.group)

    def number_text(self, number: int) -> str:
        """A number as EventStoreDB writes it: a revision, or a position in `$all`."""
        return f"C:{number}/P:{number}" if self.stream == ALL else str(number)

    def keep(self) -> filters.Filter:
        """The filter. Raises ValueError for an invalid regular expression."""
        return filters.everything if self.filter is None else self.filter.build()
