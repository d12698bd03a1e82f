"""Counts how often the event store dropped a subscription because it was read too slowly.

It is no loss, and only many of them are a sign of something. The projector serves no metrics, so it
counts in the cache, where web servers find the number. While the cache is down, nothing is counted.
"""

from __future__ import annotations

import logging
import threading
from contextlib import suppress
from typing import Final

from django.core.cache import cache
from redis.exceptions import RedisError

logger = logging.getLogger(__name__)

_KEY: Final = "subscriptions-too-slow"


def note() -> None:
    """Log it and count it, without waiting for the cache."""
    logger.info("The event store was read too slowly, and goes on where it was")
    threading.Thread(target=_count, name="count", daemon=True).start()


def count() -> int | None:
    """How often it happened since the cache was started; `None` if the cache does not say."""
    try:
        return int(cache.get(_KEY, 0))
    except RedisError:
        return None


def _count() -> None:
    with suppress(RedisError):
        cache.add(_KEY, 0, timeout=None)
        cache.incr(_KEY)
