"""The open connections, of which there may only be so many."""

from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar


class Connection(Protocol):
    """What this needs to know of a connection."""

    @property
    def is_idle(self) -> bool:
        """Whether no call is open on it."""

    @property
    def last_used(self) -> tuple[bool, float]:
        """Sorts connections: first those that never spoke HTTP/2, then by the time."""

    def close(self) -> None:
        """End it in order. Clients connect again for their next call."""


C = TypeVar("C", bound=Connection)


class Connections(Generic[C]):
    """Once there are ``limit``, the one that is idle for longest makes room for a new one."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._open: set[C] = set()

    def __iter__(self) -> Iterator[C]:
        return iter(self._open)

    def admit(self, connection: C) -> bool:
        """Add a connection; False if all others are busy, and there is no room."""
        if len(self._open) >= self._limit:
            idle = [each for each in self._open if each.is_idle]
            if not idle:
                return False
            longest = min(idle, key=lambda each: each.last_used)
            self._open.discard(longest)
            longest.close()
        self._open.add(connection)
        return True

    def remove(self, connection: C) -> None:
        """The connection has ended."""
        self._open.discard(connection)
