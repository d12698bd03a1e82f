"""A cache in the memory of a test's process, which counts as the one in Valkey does."""

from __future__ import annotations

from collections.abc import Mapping

from django.core.cache.backends.locmem import LocMemCache


class LocalCache(LocMemCache):
    """See `lepret.common.cache_pool.Cache`."""

    def increment_all(self, lifetimes: Mapping[str, int]) -> dict[str, int]:
        for key, seconds in lifetimes.items():
            self.add(key, 0, seconds)
        return {key: self.incr(key) for key in lifetimes}
