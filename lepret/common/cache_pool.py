"""Connections to the cache that all requests share."""

from __future__ import annotations

from functools import cache
from typing import Any, Self

from redis import ConnectionPool


class SharedPool(ConnectionPool):
    """One pool for each cache.

    Django makes a client of the cache for each request, and the client a pool. A connection of its
    own for each request took longer than what was then asked.
    """

    @classmethod
    @cache
    def from_url(cls, url: str, **options: Any) -> Self:
        return super().from_url(url, **options)
