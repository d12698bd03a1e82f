from __future__ import annotations

import re
import time
from collections.abc import Sequence

import pytest
from esdbclient import DEFAULT_EXCLUDE_FILTER
from esdbclient.common import construct_filter_exclude_regex
from hypothesis import given, strategies

from lepret.eventstore.storage import filters
from lepret.eventstore.storage.records import Record
from lepret.eventstore.writes import MAX_NAME


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


@pytest.mark.parametrize(
    "pattern",
    [
        "(",
        "*",
        "(?P<a",
        "[z-a]",
        r"(a)\1",
        "(?=a)b",
        "(?<!a)b",
        "a(?!b)",
        "^(?!a)|b",
        "^(?!a)|(?!b)",
        "(a{0,1000}){1000}",
        "((((a{50}){50}){50}){50})",
        "(" * 4000,
        "a" * (filters.MAX_PATTERN + 1),
    ],
)
def test_an_invalid_pattern_is_refused(pattern: str) -> None:
    """The text does not quote it."""
    with pytest.raises(ValueError, match="regular expression") as refused:
        filters.by_regex(pattern)
    assert pattern not in str(refused.value) or len(pattern) == 1


@pytest.mark.parametrize(
    "patterns", [DEFAULT_EXCLUDE_FILTER, ["A", "B.*", "a|b"], [r"x(y)?", "[AB]"]]
)
def test_what_the_python_clients_exclude(patterns: Sequence[str]) -> None:
    """RE2 has no lookaheads; Python's own engine says what this one means."""
    pattern = construct_filter_exclude_regex(patterns)
    matches = filters.by_regex(pattern)
    for text in [
        "",
        "A",
        "AB",
        "Bx",
        "xB",
        "a",
        "ab",
        "$a",
        "$",
        "x$a",
        "PersistentConfig1",
        "xyz",
    ]:
        assert matches(text) == (re.search(pattern, text) is not None)


@pytest.mark.parametrize("pattern", [r"^(?!\$).*", r"^(?!\$|test-).*$", r"^[^\$].*", "(?i)^TEST"])
def test_what_other_clients_send(pattern: str) -> None:
    matches = filters.by_regex(pattern)
    for text in ["", "$a", "a$", "test-1", "TEST-1", "contest-1"]:
        assert matches(text) == (re.search(pattern, text) is not None)


@given(
    strategies.text("ab()|[]*+?{},1\\^$.:=!<>PQEdw", max_size=40),
    strategies.text(max_size=3000),
)
def test_any_pattern_is_refused_or_matched_in_bounded_time(pattern: str, text: str) -> None:
    try:
        matches = filters.by_regex(pattern)
    except ValueError:
        return
    started = time.process_time()
    matches(text)
    assert time.process_time() - started < 5


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("^(a+)+$", "a" * 28 + "!"),
        ("^(a|a)*$", "a" * 2000 + "!"),
        ("(.*)*(.*)*(.*)*x", "a" * 2000),
        ("^(?!(a+)+$)", "a" * 2000 + "!"),
        ("[ab]*a[ab]{500}c", "ab" * 1000),
    ],
)
def test_patterns_that_take_other_engines_for_ever(pattern: str, text: str) -> None:
    matches = filters.by_regex(pattern)
    started = time.process_time()
    for _ in range(10):
        matches(text)
    assert time.process_time() - started < 10


def test_texts_of_any_length_cost_no_more_than_a_name() -> None:
    assert filters.by_regex("^a*$")("a" * MAX_NAME + "b" * 10_000_000)


@pytest.mark.parametrize("prefixes", [["a"] * 1001, ["a" * 70_000]])
def test_too_many_prefixes_are_refused(prefixes: list[str]) -> None:
    with pytest.raises(ValueError, match="prefixes"):
        filters.by_prefix(prefixes)
