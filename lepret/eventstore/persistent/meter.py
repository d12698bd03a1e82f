"""How fast something grows."""

from typing import NamedTuple


class Growth(NamedTuple):
    """What came between two looks at a total."""

    items: int
    per_second: int


class Meter:
    """Remembers the last look."""

    def __init__(self, now: float) -> None:
        self._total = 0
        self._time = now

    def measure(self, total: int, now: float) -> Growth:
        """The growth since the last look; times are in seconds."""
        items, seconds = total - self._total, now - self._time
        self._total, self._time = total, now
        return Growth(items, int(items / seconds) if seconds > 0 else 0)
