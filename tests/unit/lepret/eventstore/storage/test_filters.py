from __future__ import annotations

import pytest

from lepret.eventstore.storage import filters
from lepret.eventstore.storage.records import Record


def _record(event_type: str = "", stream: str = "") -> Record:
    return Record(position=1, stream=stream, revision=0, type=event_type, response=b"")


def test_a_regex_need_not_match_the_whole_text() -> None:
    keep = filters.by_type(filters.by_regex("^A|B|C$"))
    types = ["A", "Ax", "xA", "xBx", "xC", "Cx"]
    assert [t for t in types if keep(_record(t))] == ["A", "Ax", "xBx", "xC"]


def test_prefixes() -> None:
    keep = filters.by_stream(filters.by_prefix(["a-", "b"]))
    streams = ["a-1", "a", "b", "bc", "xb"]
    assert [s for s in streams if keep(_record(stream=s))] == ["a-1", "b", "bc"]


def test_by_type_is_right_with_more_types_than_it_caches() -> None:
    keep = filters.by_type(filters.by_regex("7$"))
    for n in [*range(3000), *range(3000)]:
        assert keep(_record(str(n))) == (n % 10 == 7)


@pytest.mark.parametrize("pattern", ["(", "*", "(?P<a", "[z-a]"])
def test_an_invalid_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="regular expression"):
        filters.by_regex(pattern)
