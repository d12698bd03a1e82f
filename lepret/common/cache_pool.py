"""The cache: JSON, over connections and with clients that all requests share."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from typing import Any, Final, NamedTuple, Self

from django.core.cache.backends.redis import RedisCache, RedisCacheClient
from redis import ConnectionPool, Redis
from redis.commands.core import Script

# KEYS are the counters, and then the mark if there is one; ARGV for each counter how often at most
# and its lifetime, and then the mark's lifetime.
_COUNT: Final = """
local counters = math.floor(#ARGV / 2)
local mark = KEYS[counters + 1]
if mark and not redis.call('SET', mark, 1, 'EX', ARGV[#ARGV], 'NX') then return {} end
local counted = {}
for i = 1, counters do
  counted[i] = redis.call('INCR', KEYS[i])
  if counted[i] == 1 then redis.call('EXPIRE', KEYS[i], ARGV[2 * i]) end
  if counted[i] > tonumber(ARGV[2 * i - 1]) then
    if mark then redis.call('DEL', mark) end
    break
  end
end
return counted
"""


class Limit(NamedTuple):
    """How often a counter may be incremented within its lifetime in seconds."""

    times: int
    seconds: int


class Mark(NamedTuple):
    """A key that is there, or is not, and its lifetime in seconds."""

    key: str
    seconds: int


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

    def count(self, limits: Mapping[str, Limit], *, unless: Mark | None = None) -> list[int]:
        """Increment counters in turn, up to the first that comes over its limit: their values.

        It is one round trip, and nothing comes in between. A counter that is new begins at 1, and
        expires after its lifetime. If the mark is there, nothing is counted; otherwise it is there
        afterwards, unless a counter came over its limit.
        """
        keys = [self.make_and_validate_key(key) for key in limits]
        numbers = [number for limit in limits.values() for number in limit]
        if unless is not None:
            keys.append(self.make_and_validate_key(unless.key))
            numbers.append(unless.seconds)
        counted: list[int] = _counting(self._cache.get_client(write=True))(keys, numbers)
        return counted


class _SharingClients(RedisCacheClient):
    def __init__(self, servers: Any, **options: Any) -> None:
        super().__init__(servers, **options)
        self._client = _client


@cache
def _client(connection_pool: ConnectionPool) -> Redis:
    return Redis(connection_pool=connection_pool)


@cache
def _counting(client: Redis) -> Script:
    return client.register_script(_COUNT)
