"""How fast a total grows."""

from typing import NamedTuple


class Growth(NamedTuple):
    """The growth between two measurements of a total."""

    items: int
    per_second: int


class Meter:
    """Remembers the last measurement."""

    def __init__(self, now: float) -> None:
        self._total = 0
        self._time = now

    def measure(self, total: int, now: float) -> Growth:
        """The growth since the last measurement; times are in seconds."""
        items, seconds = total - self._total, now - self._time
        self._total, self._time = total, now
        return Growth(items, int(items / seconds) if seconds > 0 else 0)
