"""Delays between attempts to reach something that is away."""

from __future__ import annotations

import random
from typing import Final


def jittered(seconds: float) -> float:
    """Between half of it and all: those who wait for the same do not come back together."""
    return seconds * random.uniform(0.5, 1.0)  # noqa: S311 (not cryptography)


class Backoff:
    """Growing delays in seconds, with jitter, so that those who wait do not all knock at once."""

    def __init__(self, *, first: float = 0.1, longest: float = 5.0) -> None:
        self._first: Final = first
        self._longest: Final = longest
        self._next = first

    def next_delay(self) -> float:
        """Between half of the delay that is due and all of it; the next one is twice as long."""
        delay = jittered(self._next)
        self._next = min(2 * self._next, self._longest)
        return delay

    def reset(self) -> None:
        """Begin with the first delay again."""
        self._next = self._first
