"""What a group is made with, as it is kept in the log."""

from enum import StrEnum
from typing import Annotated, NamedTuple

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from lepret.eventstore.storage import filters

ALL = "$all"

END = -1
"""The start of a group that is to see only what comes after it was made."""

_LARGEST = 2**31 - 1
"""The largest number that clients can be told of."""

Number = Annotated[int, Field(ge=0)]
Count = Annotated[int, Field(ge=0, le=_LARGEST)]
Milliseconds = Annotated[int, Field(ge=0, le=_LARGEST)]


class GroupName(NamedTuple):
    """A group is known by what it reads and by its own name."""

    stream: str
    """The stream that the group reads, or `$all`."""
    group: str

    def __str__(self) -> str:
        return f"{self.stream}::{self.group}"


class _Stored(BaseModel):
    """Written to the log, and read from it, in the spelling of EventStoreDB."""

    model_config = ConfigDict(frozen=True, alias_generator=to_camel, populate_by_name=True)


class FilterContext(StrEnum):
    """What of an event a filter looks at."""

    EVENT_TYPE = "eventType"
    STREAM_NAME = "streamId"


class FilterSettings(_Stored):
    """Which events of `$all` a group is to see."""

    context: FilterContext
    prefixes: tuple[str, ...] = ()
    """What the text may start with; where there is one, the regular expression does not count."""
    regex: str = ""

    def build(self) -> filters.Filter:
        """The filter to read with. Raises ValueError for a regular expression that is none."""
        matches = self._matches()
        if self.context is FilterContext.EVENT_TYPE:
            return filters.by_type(matches)
        return filters.by_stream(matches)

    def _matches(self) -> filters.Matches:
        if self.prefixes:
            return filters.by_prefix(self.prefixes)
        return filters.by_regex(self.regex)


class GroupSettings(_Stored):
    """A group's settings.

    Events are counted by numbers: their positions in `$all`, else their revisions.
    """

    stream: Annotated[str, Field(min_length=1)]
    group: Annotated[str, Field(min_length=1)]
    filter: FilterSettings | None = None
    start_from: Annotated[int, Field(ge=END)]
    """The number of the first event, or END."""
    first_number: Number
    """The same, with END as it was when the settings were made."""
    resolve_link_tos: bool
    extra_statistics: bool
    message_timeout: Milliseconds
    max_retry_count: Count
    check_point_after: Milliseconds
    """The least time between checkpoints; with 0, only the maximum count brings one about."""
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
        """A number as clients read it: a revision, or a position in `$all`."""
        return f"C:{number}/P:{number}" if self.stream == ALL else str(number)

    def keep(self) -> filters.Filter:
        """The filter to read with. Raises ValueError for a regular expression that is none."""
        return filters.everything if self.filter is None else self.filter.build()
