"""The rules of stream metadata and links."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, strategies

from lepret.eventstore.storage.links import link_target
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
        (b"@orders", None),
        (b"3@", None),
        (b"3", None),
        (b"-3@orders", None),
        ("³@orders".encode(), None),
        (b"9223372036854775807@orders", None),
        (b"\xff@orders", None),
    ],
)
def test_link_targets(data: bytes, target: tuple[str, int] | None) -> None:
    assert link_target(data) == target
