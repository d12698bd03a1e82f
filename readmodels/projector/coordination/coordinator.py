"""Sees to it that each projection runs in one of the projectors, and the others stand by.

This spares double work, and no more: what makes it safe for two to run the same projection is the
checkpoint's compare-and-swap. So a lock may be lost, or go before its follower has stopped.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from typing import Any, Final, Protocol, Self

from lepret.common.backoff import Backoff
from lepret.common.error_places import type_and_place
from lepret.common.outages import Outage
from readmodels.database import read_models_connection
from readmodels.projector.coordination.advisory_locks import (
    LEASE_SECONDS,
    LockSession,
    is_coordinated,
    key_of,
)
from readmodels.projector.coordination.assignment import Watch, plan

logger = logging.getLogger(__name__)

LOOK_SECONDS: Final = 0.5
GIVE_UP_SECONDS: Final = 5.0
STOP_SECONDS: Final = 5.0


class Coordination(Protocol):
    """Tells the followers of this process which projections to run. Used as a context manager."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    def is_mine(self, name: str) -> bool:
        """Whether the projection is to run here, at this moment."""

    def wait_until_mine(self, name: str, timeout: float) -> bool:
        """Wait up to `timeout` seconds for the projection to be mine; answers whether it is."""

    def given_up(self, name: str) -> None:
        """Say that a projection which is not mine any more has stopped here."""


def coordinator(names: Sequence[str], *, stop: threading.Event | None = None) -> Coordination:
    """For the projections of these names; on SQLite every projector runs everything."""
    return Coordinator(names, stop=stop) if is_coordinated() else Uncoordinated()


class Uncoordinated:
    """Everything is mine."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def is_mine(self, name: str) -> bool:
        return True

    def wait_until_mine(self, name: str, timeout: float) -> bool:
        return True

    def given_up(self, name: str) -> None:
        pass


class Coordinator:
    """Shares projections out between all projectors on the same PostgreSQL database.

    A thread of its own looks every `LOOK_SECONDS` who could run what and who runs it, and takes
    projections or gives one up. One that is given up stays locked until its follower says that it
    has stopped, for at most `GIVE_UP_SECONDS`. Without an answer from the database for
    `LEASE_SECONDS` nothing is mine; the server ends the session when as much time has passed.

    To be left when the followers have stopped: standbys then take over at their next look. Once
    `stop` is set, no further projection becomes mine.
    """

    def __init__(self, names: Sequence[str], *, stop: threading.Event | None = None) -> None:
        self._names: Final = {key_of(name): name for name in names}
        self._stop: Final = stop or threading.Event()
        # Read here: the settings of a thread's connection are the thread's own.
        self._connection_parameters: dict[str, Any] = (
            read_models_connection().get_connection_params()
        )
        self._mine: set[str] = set()
        self._mine_until = 0.0
        # Until when the lock of what is being given up is kept.
        self._leaving: dict[str, float] = {}
        self._changed: Final = threading.Condition()
        self._is_closed: Final = threading.Event()
        self._backoff: Final = Backoff()
        self._outage: Final = Outage(
            logger, "the database's locks", consequence="no projection is run here"
        )
        self._thread: Final = threading.Thread(target=self._run, name="coordinator", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._is_closed.set()
            self._changed.notify_all()
        self._thread.join(STOP_SECONDS)

    def is_mine(self, name: str) -> bool:
        return name in self._mine and time.monotonic() < self._mine_until

    def wait_until_mine(self, name: str, timeout: float) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self.is_mine(name) or self._stop.is_set(), timeout)
        return self.is_mine(name)

    def given_up(self, name: str) -> None:
        with self._changed:
            if name in self._leaving:
                self._leaving[name] = time.monotonic()
                self._changed.notify_all()

    def _run(self) -> None:
        while not self._is_closed.is_set():
            try:
                with LockSession(self._connection_parameters) as session:
                    self._coordinate(session)
            except Exception as error:  # noqa: BLE001 (without this thread nothing would be mine)
                self._outage.begin(type_and_place(error))
                self._is_closed.wait(self._backoff.next_delay())

    def _coordinate(self, session: LockSession) -> None:
        """One session's life."""
        session.become_candidate(self._names.keys())
        watch = Watch()
        try:
            while not self._is_closed.is_set():
                self._look_and_act(session, watch)
                self._outage.end()
                self._backoff.reset()
                self._release_until(time.monotonic() + LOOK_SECONDS, session)
        finally:
            with self._changed:
                self._mine.clear()
                self._leaving.clear()

    def _look_and_act(self, session: LockSession, watch: Watch) -> None:
        if self._stop.is_set():
            session.withdraw()
        asked_at = time.monotonic()
        look = session.look()
        todo = plan(look, me=session.number, overdue=watch.overdue(look))
        taken = {self._names[key] for key in sorted(todo.take) if session.take(key)}
        with self._changed:
            # Before the server counts: it begins with its answer.
            self._mine_until = asked_at + LEASE_SECONDS
            self._mine |= taken
            if todo.give_up is not None and not self._leaving:
                self._leave(self._names[todo.give_up])
            self._changed.notify_all()
        for name in sorted(taken):
            logger.info("%s is run here", name)

    def _leave(self, name: str) -> None:
        self._mine.discard(name)
        self._leaving[name] = time.monotonic() + GIVE_UP_SECONDS

    def _release_until(self, next_look: float, session: LockSession) -> None:
        """Release what followers have given up, as they do so."""
        while (seconds := next_look - time.monotonic()) > 0:
            with self._changed:
                self._changed.wait_for(lambda: self._is_closed.is_set() or self._due(), seconds)
            if self._is_closed.is_set():
                return
            self._release_due(session)

    def _release_due(self, session: LockSession) -> None:
        for name in self._due():
            session.release(key_of(name))
            with self._changed:
                del self._leaving[name]
            logger.info("%s is left to another projector", name)

    def _due(self) -> list[str]:
        now = time.monotonic()
        with self._changed:
            return [name for name, kept_until in self._leaving.items() if kept_until <= now]
