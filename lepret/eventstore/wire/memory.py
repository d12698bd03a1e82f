"""How much memory all calls together may use for what their clients send, or do not read."""

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

H = TypeVar("H", bound=Hashable)


class MemoryLimit(Generic[H]):
    """Counts the bytes that are kept for each holder. Past the limit, the oldest holder ends."""

    def __init__(self, limit: int, end: Callable[[H], None]) -> None:
        """``end`` is called with a holder that no longer counts, and must free its bytes."""
        self._limit = limit
        self._end = end
        self._total = 0
        # In the order in which the holders began to hold something.
        self._sizes: dict[H, int] = {}

    def hold(self, holder: H, size: int) -> None:
        """The holder now keeps that many bytes; with 0, it is forgotten."""
        self._total += size - self._sizes.get(holder, 0)
        if size:
            self._sizes[holder] = size
        else:
            self._sizes.pop(holder, None)
        while self._total > self._limit:
            oldest = next(iter(self._sizes))
            self._total -= self._sizes.pop(oldest)
            self._end(oldest)
