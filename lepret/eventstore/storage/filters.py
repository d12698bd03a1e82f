"""Filters on `$all`, by event type or by stream name.

Regular expressions are a client's, and are matched with every event. RE2 takes time in proportion
to the text, whatever the expression; its size, and the text's, are bounded here.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import re2

from lepret.eventstore.rpc import Refusal, bad_request, handler_failed
from lepret.eventstore.storage.dotnet_regex import (
    InvalidPattern,
    UnsupportedPattern,
    translated,
    utf16,
)
from lepret.eventstore.storage.records import NO_NAME, Record
from lepret.eventstore.writes import MAX_NAME

Matches = Callable[[str], bool]

MAX_PATTERN = 4096
"""Characters of a regular expression."""

MAX_PATTERN_MEMORY = 256 * 1024
"""Bytes for a compiled expression. The slowest that fits takes some milliseconds for a text."""

MAX_PREFIXES = 1000
MAX_PREFIX_CHARACTERS = 64 * 1024
"""Prefixes of one filter, and the characters of all of them together."""

_CACHED_VERDICTS = 1024
_GROUPS_ON_ALL = "$persistentsubscription-$all::"
_OF_GROUPS = ("-checkpoint", "-parked")


@dataclass(frozen=True, slots=True)
class Filter:
    """Keeps the events whose type, or whose stream's name, matches.

    So it need not see each event to say that it keeps none of many: their types are enough.
    """

    column: Literal["type", "stream"]
    matches: Matches
    is_in_all: bool = False
    """Whether it hides what `in_all` hides."""

    def __call__(self, record: Record) -> bool:
        """Whether the event is kept."""
        text = record.type if self.column == "type" else record.stream
        if not self.matches(text):
            return False
        return not (self.is_in_all and _is_hidden(record))


everything = Filter("type", lambda text: True)
"""Keeps all events."""


def in_all(keep: Filter) -> Filter:
    """Apply a filter to `$all`, and hide empty records and what groups on `$all` store.

    A group that read its own checkpoints and parked messages would never catch up.
    """
    return replace(keep, is_in_all=True)


HIDDEN_IN_ALL = " OR ".join(
    (f"stream = '{NO_NAME}'", *(f"stream GLOB '{_GROUPS_ON_ALL}*{end}'" for end in _OF_GROUPS))
)
"""What `in_all` hides, in SQL."""


def by_type(matches: Matches) -> Filter:
    """Keep the events whose type matches. There are few types, so results are cached."""
    verdicts: dict[str, bool] = {}

    def cached(text: str) -> bool:
        verdict = verdicts.get(text)
        if verdict is not None:
            return verdict
        if len(verdicts) >= _CACHED_VERDICTS:
            verdicts.clear()
        verdict = verdicts[text] = matches(text)
        return verdict

    return Filter("type", cached)


def by_stream(matches: Matches) -> Filter:
    """Keep the events of streams whose name matches."""
    return Filter("stream", matches)


def by_regex(pattern: str) -> Matches:
    """Search the text for a pattern in .NET's syntax.

    Not a full match: clients send ``^A|B|C$``, where the anchors belong to A and C only. Raises
    InvalidPattern, UnsupportedPattern (also for one that is too large), both ValueErrors.
    """
    if len(pattern) > MAX_PATTERN:
        raise ValueError(f"The filter's regular expression has over {MAX_PATTERN} characters.")
    expression = translated(pattern)
    matches = _search(expression.pattern)
    if not expression.lookaheads:
        return matches
    ahead = [(_search(pattern), wanted) for pattern, wanted in expression.lookaheads]
    return lambda text: matches(text) and all(found(text) == wanted for found, wanted in ahead)


def refusal(error: ValueError) -> Refusal:
    """The refusal of a filter that is not valid, or not supported."""
    return (handler_failed if isinstance(error, InvalidPattern) else bad_request)(str(error))


def by_prefix(prefixes: Sequence[str]) -> Matches:
    """Match texts that start with one of the prefixes. Raises ValueError for too many."""
    starts = tuple(prefixes)
    if len(starts) > MAX_PREFIXES or sum(map(len, starts)) > MAX_PREFIX_CHARACTERS:
        raise ValueError(
            f"The filter has over {MAX_PREFIXES} prefixes,"
            f" or over {MAX_PREFIX_CHARACTERS} characters of them."
        )
    return lambda text: text.startswith(starts)


def _search(pattern: str) -> Matches:
    compiled = _compiled(pattern)
    return lambda text: compiled.search(_bounded(text)) is not None


def _compiled(pattern: str) -> "re2._Regexp":
    options = re2.Options()
    options.max_mem = MAX_PATTERN_MEMORY
    options.log_errors = False
    options.never_capture = True  # Only whether it matches is asked, never where.
    try:
        return re2.compile(pattern, options)
    except re2.error:
        # Without RE2's own text, which quotes the pattern.
        raise UnsupportedPattern from None


def _bounded(text: str) -> str:
    """What is matched: all of any name that can be written today."""
    return utf16(text[:MAX_NAME] if len(text) > MAX_NAME else text)


def _is_hidden(record: Record) -> bool:
    stream = record.stream
    return stream == NO_NAME or (stream.startswith(_GROUPS_ON_ALL) and stream.endswith(_OF_GROUPS))
