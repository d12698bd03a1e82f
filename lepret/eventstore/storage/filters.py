"""Filters on `$all`, by event type or by stream name."""

import re
from collections.abc import Callable, Sequence

from lepret.eventstore.storage.records import Record

Matches = Callable[[str], bool]
Filter = Callable[[Record], bool]

_REMEMBERED_VERDICTS = 1024
_GROUPS_ON_ALL = "$persistentsubscription-$all::"
_OF_GROUPS = ("-checkpoint", "-parked")


def everything(record: Record) -> bool:
    """The filter of a reader that named none."""
    return True


def in_all(keep: Filter) -> Filter:
    """Keep what the filter keeps of `$all`, which does not show how far its own groups are."""
    return lambda record: keep(record) and not _is_of_groups_on_all(record)


def by_type(matches: Matches) -> Filter:
    """Keep the events whose type matches.

    Types are few and records many, so verdicts are remembered.
    """
    verdicts: dict[str, bool] = {}

    def keep(record: Record) -> bool:
        verdict = verdicts.get(record.type)
        if verdict is not None:
            return verdict
        if len(verdicts) >= _REMEMBERED_VERDICTS:
            verdicts.clear()
        verdict = verdicts[record.type] = matches(record.type)
        return verdict

    return keep


def by_stream(matches: Matches) -> Filter:
    """Keep the events of streams whose name matches."""
    return lambda record: matches(record.stream)


def by_regex(pattern: str) -> Matches:
    """Match where the pattern is found anywhere.

    A search and not a match: clients send ``^A|B|C$``, whose anchors bind only the outer two.
    Raises ValueError for a pattern that is none.
    """
    try:
        search = re.compile(pattern).search
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(f"The filter's regular expression is not valid: {error}") from error
    return lambda text: search(text) is not None


def by_prefix(prefixes: Sequence[str]) -> Matches:
    """Match what starts with one of the prefixes."""
    starts = tuple(prefixes)
    return lambda text: text.startswith(starts)


def _is_of_groups_on_all(record: Record) -> bool:
    """Whether a persistent subscription to `$all` wrote it: else that would never catch up."""
    return record.stream.startswith(_GROUPS_ON_ALL) and record.stream.endswith(_OF_GROUPS)
