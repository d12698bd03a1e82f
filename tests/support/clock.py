"""A clock for tests of what depends on time."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Clock:
    """Gives `now`, in seconds, which stays the same until a test changes it."""

    now: float = 1_000_020.0

    def __call__(self) -> float:
        return self.now
