"""A request's turn: how many requests a web server works on at once is limited.

`lepret.front.fairness` gives the turns. Outside a web server there are none, and nothing waits.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from typing import Protocol

from django.db import connections


class Turn(Protocol):
    """The right of one request to be worked on. Its methods may be called from any thread."""

    def hold(self) -> Callable[[], None]:
        """Keep the turn until the returned function is called, once or more often."""

    def pause(self) -> None:
        """Let another request be worked on meanwhile."""

    def resume(self) -> None:
        """Go on."""


current_turn: ContextVar[Turn | None] = ContextVar("current_turn", default=None)


def waiting_elsewhere() -> AbstractContextManager[None]:
    """While this request only waits, such as for another company's server, let others go on.

    They may have its connections to PostgreSQL, too: otherwise what hangs would take all of the
    pool, and look like an outage of the database.
    """
    turn = current_turn.get()
    return nullcontext() if turn is None else _Pause(turn)


class _Pause:
    def __init__(self, turn: Turn) -> None:
        self._turn = turn

    def __enter__(self) -> None:
        give_back_connections()
        self._turn.pause()

    def __exit__(self, *_: object) -> None:
        self._turn.resume()


def give_back_connections() -> None:
    """Give this thread's connections back to their pools; the next query takes others."""
    for connection in connections.all(initialized_only=True):
        if connection.vendor == "postgresql" and not connection.in_atomic_block:
            connection.close()
