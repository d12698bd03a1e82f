"""A cache in the memory of a test's process, which counts as the one in Valkey does."""

from __future__ import annotations

from collections.abc import Mapping

from django.core.cache.backends.locmem import LocMemCache

from lepret.common.cache_pool import Limit, Mark


class LocalCache(LocMemCache):
    """See `lepret.common.cache_pool.Cache`."""

    def count(self, limits: Mapping[str, Limit], *, unless: Mark | None = None) -> list[int]:
        if unless is not None and not self.add(unless.key, 1, unless.seconds):
            return []
        counted: list[int] = []
        for key, limit in limits.items():
            self.add(key, 0, limit.seconds)
            counted.append(self.incr(key))
            if counted[-1] > limit.times:
                if unless is not None:
                    self.delete(unless.key)
                break
        return counted
