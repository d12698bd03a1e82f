"""The cache's connections, and what it keeps."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import cast
from unittest.mock import patch
from uuid import uuid4

import pytest
from django.core.cache import caches
from pytest_django import Settings
from redis import Redis

from lepret.common.cache_pool import Cache, Limit, Mark
from lepret.settings import CACHES
from tests.support.valkey import RunningValkey


def test_the_caches_clients_share_their_connections(
    shared_valkey: RunningValkey, settings: Settings
) -> None:
    settings.CACHES = {
        "default": {**CACHES["default"], "LOCATION": shared_valkey.url, "KEY_PREFIX": str(uuid4())}
    }
    with Redis.from_url(shared_valkey.url) as redis:
        before = redis.info("stats")["total_connections_received"]
        for _ in range(5):  # Django does that for each request.
            caches.create_connection("default").get("nothing")

        assert redis.info("stats")["total_connections_received"] - before <= 1


def test_a_client_is_not_made_for_each_question(
    shared_valkey: RunningValkey, settings: Settings
) -> None:
    settings.CACHES = {"default": {**CACHES["default"], "LOCATION": shared_valkey.url}}
    with patch.object(Redis, "__init__", autospec=True, side_effect=Redis.__init__) as made:
        for _ in range(5):
            cache = caches.create_connection("default")
            cache.set("something", 1, 60)
            assert cache.get("something") == 1

    assert made.call_count <= 1


def test_it_keeps_words_lists_and_numbers_that_can_be_counted_up(
    shared_valkey: RunningValkey, settings: Settings
) -> None:
    settings.CACHES = {"default": {**CACHES["default"], "LOCATION": shared_valkey.url}}
    cache = caches["default"]
    for value in ("words, \N{SNOWMAN}", ["a", "b"], {"a": 1}, 7, None, True):
        cache.set("kept", value, 60)
        assert cache.get("kept", "nothing") == value
    cache.set("counter", 7, 60)
    assert cache.incr("counter") == 8
    assert cache.get_many(["counter", "kept"]) == {"counter": 8, "kept": True}


@pytest.fixture
def counting(shared_valkey: RunningValkey, settings: Settings) -> Cache:
    own = {"LOCATION": shared_valkey.url, "KEY_PREFIX": str(uuid4())}
    settings.CACHES = {"default": {**CACHES["default"], **own}}
    return cast(Cache, caches["default"])


def test_counters_are_incremented_and_kept_as_long_as_when_they_were_made(
    counting: Cache, shared_valkey: RunningValkey
) -> None:
    assert counting.count({"a": Limit(9, 60)}) == [1]
    assert counting.count({"a": Limit(9, 999), "b": Limit(9, 30)}) == [2, 1]
    assert counting.get_many(["a", "b"]) == {"a": 2, "b": 1}
    with Redis.from_url(shared_valkey.url) as redis:
        lifetimes = [redis.ttl(counting.make_key(key)) for key in ("a", "b")]
    assert 30 < lifetimes[0] <= 60
    assert 0 < lifetimes[1] <= 30


def test_counters_after_one_that_is_over_its_limit_are_left_alone(counting: Cache) -> None:
    limits = {"a": Limit(9, 60), "b": Limit(1, 60), "c": Limit(9, 60)}
    assert counting.count(limits) == [1, 1, 1]
    assert counting.count(limits) == [2, 2]
    assert counting.get_many(limits) == {"a": 2, "b": 2, "c": 1}


def test_what_is_marked_is_counted_once(counting: Cache, shared_valkey: RunningValkey) -> None:
    limits, mark = {"a": Limit(2, 60)}, Mark("sent", 30)
    assert counting.count(limits, unless=mark) == [1]
    assert counting.count(limits, unless=mark) == []
    with Redis.from_url(shared_valkey.url) as redis:
        assert 0 < redis.ttl(counting.make_key("sent")) <= 30
    counting.delete("sent")
    assert counting.count(limits, unless=mark) == [2]


def test_what_is_over_a_limit_is_not_marked(counting: Cache) -> None:
    limits, mark = {"a": Limit(0, 60)}, Mark("sent", 30)
    assert counting.count(limits, unless=mark) == [1]
    assert counting.count(limits, unless=mark) == [2]


def test_the_cache_counts_though_it_has_forgotten_how(
    counting: Cache, shared_valkey: RunningValkey
) -> None:
    counting.count({"a": Limit(9, 60)})
    with Redis.from_url(shared_valkey.url) as redis:
        redis.script_flush()
    assert counting.count({"a": Limit(9, 60)}) == [2]


class RunsWhenRead:
    def __init__(self, trace: Path) -> None:
        self._trace = trace

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self._trace,)


def test_what_somebody_else_wrote_is_never_run(
    shared_valkey: RunningValkey, settings: Settings, tmp_path: Path
) -> None:
    settings.CACHES = {"default": {**CACHES["default"], "LOCATION": shared_valkey.url}}
    cache, trace = caches["default"], tmp_path / "trace"
    with Redis.from_url(shared_valkey.url) as redis:
        redis.set(cache.make_key("planted"), pickle.dumps(RunsWhenRead(trace)), ex=60)

    with pytest.raises(ValueError):  # noqa: PT011 (each reader of JSON has its own)
        cache.get("planted")

    assert not trace.exists()
