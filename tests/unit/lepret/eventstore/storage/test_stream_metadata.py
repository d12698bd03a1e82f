"""The rules of stream metadata and links."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, strategies

from lepret.eventstore.storage.links import LAST_EVENT, link_target
from lepret.eventstore.storage.stream_metadata import (
    DELETED,
    StreamMetadata,
    deleting_metadata,
    metadata_beginning_at,
    metastream_of,
    original_of,
    parse_metadata,
)

JSON = strategies.recursive(
    strategies.none() | strategies.booleans() | strategies.integers() | strategies.text(),
    lambda inner: strategies.lists(inner) | strategies.dictionaries(strategies.text(), inner),
    max_leaves=5,
)
SYSTEM_KEYS = strategies.sampled_from(["$maxCount", "$maxAge", "$tb", "owner"])


def test_a_metastream_belongs_to_one_stream() -> None:
    assert metastream_of("orders") == "$$orders"
    assert original_of("$$orders") == "orders"
    assert original_of("orders") is None
    assert original_of("$orders") is None


@given(strategies.binary() | strategies.dictionaries(SYSTEM_KEYS, JSON).map(json.dumps))
def test_any_data_is_parsed_to_valid_metadata(data: bytes | str) -> None:
    metadata = parse_metadata(data if isinstance(data, bytes) else data.encode())
    assert metadata.max_count is None or metadata.max_count >= 1
    assert metadata.max_age is None or metadata.max_age >= 1
    assert 0 <= metadata.truncate_before <= DELETED


@pytest.mark.parametrize(
    "invalid",
    [
        '"$maxCount": "3"',
        '"$maxCount": null',
        '"$maxCount": 1.0',
        '"$maxCount": true',
        '"$maxCount": 9223372036854775808',
        f'"$maxAge": {2**40}',
        f'"$maxAge": {2**70}',
        '"$tb": -9223372036854775809',
        '"$tmp": 1',
        '"$cacheControl": "x"',
        '"$acl": {"$r": 7}',
        '"$acl": {"$x": "a"}',
        '"$acl": null',
    ],
)
def test_one_invalid_system_key_makes_all_of_them_count_as_absent(invalid: str) -> None:
    data = f'{{"$maxCount": 4, "$tb": 5, {invalid}}}'
    assert parse_metadata(data.encode()) == StreamMetadata()


@pytest.mark.parametrize("key", ["$maxCount", "$maxAge", "$tb"])
def test_a_limit_that_is_too_small_counts_as_absent_alone(key: str) -> None:
    data = {"$maxCount": 3, "$maxAge": 4, "$tb": 5} | {key: -1}
    fields = {"$maxCount": "max_count", "$maxAge": "max_age", "$tb": "truncate_before"}
    limits = {"max_count": 3, "max_age": 4, "truncate_before": 5}
    del limits[fields[key]]
    assert parse_metadata(json.dumps(data).encode()) == StreamMetadata(**limits)


@pytest.mark.parametrize(
    "text",
    [
        '{"$maxCount": 3, "$acl": {"$r": "$all", "$w": ["a", "b"]}, "mine": {"$tb": "x"}}',
        '{"$maxCount": 3} and more',
        '{"$maxCount": 3}}',
        '{"$maxCount": 3,}',
        '{"$maxCount": 3 , } and more',
        ' \n{"$maxCount": 3}',
        '\ufeff{"$maxCount": 3}',
    ],
)
def test_json_is_read_to_the_end_of_the_object(text: str) -> None:
    assert parse_metadata(text.encode()) == StreamMetadata(max_count=3)


@pytest.mark.parametrize(
    "text", ['{"$maxCount": 3', '{"$maxCount": 3,,}', "{,}", '[{"$maxCount": 3}]', ""]
)
def test_what_is_no_object_counts_as_empty(text: str) -> None:
    assert parse_metadata(text.encode()) == StreamMetadata()


@given(
    strategies.integers(0, 50),
    strategies.none() | strategies.integers(1, 60),
    strategies.integers(0, 60),
)
def test_the_first_revision_obeys_both_limits(
    last: int, max_count: int | None, truncate_before: int
) -> None:
    metadata = StreamMetadata(max_count=max_count, truncate_before=truncate_before)
    visible = [n for n in range(last + 1) if n >= metadata.first_revision(last)]
    by_count = range(last + 1)[-max_count:] if max_count else range(last + 1)
    assert visible == [n for n in by_count if n >= truncate_before]


def test_the_oldest_event_is_max_age_seconds_old() -> None:
    assert StreamMetadata(max_age=3).oldest(now=100_000_000) == 70_000_000
    assert StreamMetadata().oldest(now=100_000_000) == 0


def test_a_reopened_stream_keeps_its_other_metadata() -> None:
    assert parse_metadata(deleting_metadata()).is_deleted
    anew = metadata_beginning_at('{"owner": "Ä", "$tb": 9}'.encode(), 4)
    assert json.loads(anew) == {"owner": "Ä", "$tb": 4}
    assert json.loads(metadata_beginning_at(b"[]", 4)) == {"$tb": 4}


@pytest.mark.parametrize(
    ("data", "target"),
    [
        (b"3@orders", ("orders", 3)),
        (b"0@a@b", ("a@b", 0)),
        (b"-1@orders", ("orders", LAST_EVENT)),
        (b"+1@orders", ("orders", 1)),
        (b" 1 @orders", ("orders", 1)),
        (b"3@", ("", 3)),
        (b"3", ("", 3)),
        (b"9223372036854775807@orders", ("orders", DELETED)),
        (b"9223372036854775808@orders", None),
        (b"9" * 5000 + b"@orders", None),
        (b"@orders", None),
        (b"x3@orders", None),
        ("³@orders".encode(), None),
        (b"\xff@orders", None),
    ],
)
def test_link_targets(data: bytes, target: tuple[str, int] | None) -> None:
    assert link_target(data) == target
