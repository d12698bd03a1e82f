"""The cache's connections."""

from __future__ import annotations

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
