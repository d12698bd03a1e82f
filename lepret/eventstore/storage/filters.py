"""Filters on `$all`, by event type or by stream name."""

import re
from collections.abc import Callable, Sequence

from lepret.eventstore.storage.records import Record

Matches = Callable[[str], bool]
Filter = Callable[[Record], bool]

_CACHED_VERDICTS = 1024
_GROUPS_ON_ALL = "$persistentsubscription-$all::"
_OF_GROUPS = ("-checkpoint", "-parked")


def everything(record: Record) -> bool:
    """Keep all events."""
    return True


def in_all(keep: Filter) -> Filter:
    """Apply a filter to `$all`, and hide the checkpoints and parked messages of groups on `$all`.

    A group that read its own writes would never catch up.
    """
    return lambda record: keep(record) and not _is_of_groups_on_all(record)


def by_type(matches: Matches) -> Filter:
    """Keep the events whose type matches. There are few types, so results are cached."""
    verdicts: dict[str, bool] = {}

    def keep(record: Record) -> bool:
        verdict = verdicts.get(record.type)
        if verdict is not None:
            return verdict
        if len(verdicts) >= _CACHED_VERDICTS:
            verdicts.clear()
        verdict = verdicts[record.type] = matches(record.type)
        return verdict

    return keep


def by_stream(matches: Matches) -> Filter:
    """Keep the events of streams whose name matches."""
    return lambda record: matches(record.stream)


def by_regex(pattern: str) -> Matches:
    """Search the text for a pattern. Raises ValueError for an invalid one.

    Not a full match: clients send ``^A|B|C$``, where the anchors belong to A and C only.
    """
    try:
        search = re.compile(pattern).search
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(f"The filter's regular expression is not valid: {error}") from error
    return lambda text: search(text) is not None


def by_prefix(prefixes: Sequence[str]) -> Matches:
    """Match texts that start with one of the prefixes."""
    starts = tuple(prefixes)
    return lambda text: text.startswith(starts)


def _is_of_groups_on_all(record: Record) -> bool:
    return record.stream.startswith(_GROUPS_ON_ALL) and record.stream.endswith(_OF_GROUPS)
