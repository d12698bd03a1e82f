"""The cache: JSON, over connections and with clients that all requests share."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from typing import Any, Self

from django.core.cache.backends.redis import RedisCache, RedisCacheClient
from redis import ConnectionPool, Redis


class SharedPool(ConnectionPool):
    """One pool for each cache.

    Django makes a client of the cache for each request, and the client a pool. A connection of its
    own for each request took longer than what was then asked.
    """

    @classmethod
    @cache
    def from_url(cls, url: str, **options: Any) -> Self:
        return super().from_url(url, **options)


class AsJson:
    """How values are kept. Django's way (pickle) would run what whoever writes to Valkey likes."""

    def dumps(self, value: object) -> str:
        """A value as the cache has it; a number is one for Valkey, too."""
        return json.dumps(value)

    def loads(self, kept: bytes) -> Any:
        """The value.

        Raises:
            ValueError: it is none of ours.
        """
        return json.loads(kept)


class Cache(RedisCache):
    """Django's, with one client for each pool.

    Django makes one for each question, which took longer than to ask.
    """

    def __init__(self, server: Any, params: dict[str, Any]) -> None:
        super().__init__(server, params)
        self._class = _SharingClients

    def increment_all(self, lifetimes: Mapping[str, int]) -> dict[str, int]:
        """Increment counters in one round trip; returns their values.

        One that is new begins at 1, and expires after its lifetime, in seconds. Django's `incr`
        takes two round trips for each, and two more for one that is new.
        """
        with self._cache.get_client(write=True).pipeline(transaction=False) as pipeline:
            for key, seconds in lifetimes.items():
                counter = self.make_and_validate_key(key)
                pipeline.set(counter, 0, ex=seconds, nx=True)
                pipeline.incr(counter)
            return dict(zip(lifetimes, pipeline.execute()[1::2], strict=True))


class _SharingClients(RedisCacheClient):
    def __init__(self, servers: Any, **options: Any) -> None:
        super().__init__(servers, **options)
        self._client = _client


@cache
def _client(connection_pool: ConnectionPool) -> Redis:
    return Redis(connection_pool=connection_pool)
