"""The cache's connections."""

from __future__ import annotations

from unittest.mock import patch
from uuid import uuid4

from django.core.cache import caches
from pytest_django import Settings
from redis import Redis

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
