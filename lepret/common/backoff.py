"""Delays between retries."""

from __future__ import annotations

import random
from typing import Final


def jittered(seconds: float) -> float:
    """A random time between half of `seconds` and all of it, so that retries are spread out."""
    return seconds * random.uniform(0.5, 1.0)  # noqa: S311 (not cryptography)


class Backoff:
    """Exponentially growing delays in seconds, with jitter."""

    def __init__(self, *, first: float = 0.1, longest: float = 5.0) -> None:
        self._first: Final = first
        self._longest: Final = longest
        self._next = first

    def next_delay(self) -> float:
        """The next delay, with jitter. Each delay is twice the one before, up to the longest."""
        delay = jittered(self._next)
        self._next = min(2 * self._next, self._longest)
        return delay

    def reset(self) -> None:
        """Start again with the first delay."""
        self._next = self._first
