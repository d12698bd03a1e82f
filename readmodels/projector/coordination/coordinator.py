"""Assigns each projection to one of the projectors; the others stand by.

This only saves double work: two may safely run the same projection, since its checkpoint moves by
compare-and-swap. So a lock may be lost, or be released before its follower has stopped.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from typing import Any, Final, Protocol, Self

from lepret.common.error_places import type_and_place
from lepret.common.outages import Outage
from readmodels.database import read_models_connection
from readmodels.projector.coordination.advisory_locks import LockSession, is_coordinated, key_of
from readmodels.projector.coordination.assignment import OverdueProjections, plan
from readmodels.projector.tuning import DEFAULT, Tuning

logger = logging.getLogger(__name__)

STOP_SECONDS: Final = 5.0


class Coordinator(Protocol):
    """Tells the followers of this process which projections are assigned to it.

    To be used as a context manager.
    """

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    def is_assigned(self, name: str) -> bool:
        """Whether the projection is to run here, at this moment."""

    def wait_until_assigned(self, name: str, timeout: float) -> bool:
        """Wait up to `timeout` seconds until the projection is assigned; returns whether it is."""

    def stopped(self, name: str) -> None:
        """Say that a projection's follower has stopped, so that another projector may start one."""

    def leave_to_others(self, name: str) -> bool:
        """Have the projection run by other projectors only; false if it stays assigned here."""

    def take_part(self, name: str) -> None:
        """Take back that it was left to others."""

    def others_can(self, name: str) -> bool:
        """Whether another projector could run the projection, when this one last looked."""


def coordinator(
    names: Sequence[str], *, stop: threading.Event | None = None, tuning: Tuning = DEFAULT
) -> Coordinator:
    """For the projections of these names; on SQLite every projector runs everything."""
    if is_coordinated():
        return LockCoordinator(names, stop=stop, tuning=tuning)
    return NoCoordinator()


class NoCoordinator:
    """Assigns every projection to this process."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def is_assigned(self, name: str) -> bool:
        return True

    def wait_until_assigned(self, name: str, timeout: float) -> bool:
        return True

    def stopped(self, name: str) -> None:
        pass

    def leave_to_others(self, name: str) -> bool:
        return False

    def take_part(self, name: str) -> None:
        pass

    def others_can(self, name: str) -> bool:
        return False


class LockCoordinator:
    """Shares projections out between all projectors on the same PostgreSQL database.

    Its thread looks every `look_seconds` which projectors there are, and takes projections or
    releases one. A projection stays locked until its follower says that it has stopped, but at most
    `release_seconds`. If the database does not answer for `lease_seconds`, nothing is assigned any
    more; the server ends the session after the same time.

    Exit it when the followers have stopped: standbys take over at their next look. Once `stop` is
    set, no further projection is assigned.
    """

    def __init__(
        self,
        names: Sequence[str],
        *,
        stop: threading.Event | None = None,
        tuning: Tuning = DEFAULT,
    ) -> None:
        self._names: Final = {key_of(name): name for name in names}
        self._stop: Final = stop or threading.Event()
        self._tuning: Final = tuning
        # Read here, since Django's connections are per thread.
        self._connection_parameters: dict[str, Any] = (
            read_models_connection().get_connection_params()
        )
        self._assigned: set[str] = set()
        # The projections that are being released, and until when their locks are kept.
        self._releasing: dict[str, float] = {}
        # The projections that only others are to run, and those that others could run.
        self._left: set[str] = set()
        self._others_can: set[int] = set()
        self._changed: Final = threading.Condition()
        self._is_closed: Final = threading.Event()
        self._backoff: Final = tuning.backoff()
        self._outage: Final = Outage(
            logger, "the database's locks", consequence="no projection is run here"
        )
        self._thread: Final = threading.Thread(target=self._run, name="coordinator", daemon=True)
        self.looked_at = float("-inf")
        """When the last look on which it has acted began, by the monotonic clock."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._is_closed.set()
            self._changed.notify_all()
        self._thread.join(STOP_SECONDS)

    def is_assigned(self, name: str) -> bool:
        lease_ends_at = self.looked_at + self._tuning.lease_seconds
        return name in self._assigned and time.monotonic() < lease_ends_at

    def wait_until_assigned(self, name: str, timeout: float) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self.is_assigned(name) or self._stop.is_set(), timeout)
        return self.is_assigned(name)

    def stopped(self, name: str) -> None:
        with self._changed:
            if name in self._releasing:
                self._releasing[name] = time.monotonic()
                self._changed.notify_all()

    def leave_to_others(self, name: str) -> bool:
        with self._changed:
            self._left.add(name)
            if name in self._assigned:
                self._begin_release(name)
            self._changed.notify_all()
        return True

    def take_part(self, name: str) -> None:
        with self._changed:
            self._left.discard(name)
            self._changed.notify_all()

    def others_can(self, name: str) -> bool:
        return key_of(name) in self._others_can

    def _run(self) -> None:
        lease = self._tuning.lease_seconds
        while not self._is_closed.is_set():
            try:
                with LockSession(self._connection_parameters, lease_seconds=lease) as session:
                    self._coordinate(session)
            except Exception as error:  # noqa: BLE001 (without this thread nothing is assigned)
                self._outage.begin(type_and_place(error))
                self._is_closed.wait(self._backoff.next_delay())

    def _coordinate(self, session: LockSession) -> None:
        """Take part for as long as the session lasts."""
        overdue = OverdueProjections()
        try:
            while not self._is_closed.is_set():
                self._look_and_act(session, overdue)
                self._outage.end()
                self._backoff.reset()
                self._release_until(time.monotonic() + self._tuning.look_seconds, session)
        finally:
            with self._changed:
                self._assigned.clear()
                self._releasing.clear()

    def _look_and_act(self, session: LockSession, overdue: OverdueProjections) -> None:
        session.be_candidate_for(self._wanted())
        asked_at = time.monotonic()
        seen = session.projectors()
        self._others_can = {
            key
            for number, other in seen.items()
            if number != session.number
            for key in other.candidate_for
        }
        todo = plan(seen, me=session.number, overdue=overdue.after_look(seen))
        taken = {self._names[key] for key in sorted(todo.take) if session.take(key)}
        with self._changed:
            # The lease counts from the question here and from the answer at the server: it ends
            # here first.
            self.looked_at = asked_at
            self._assigned |= taken
            if todo.release is not None and not self._releasing:
                self._begin_release(self._names[todo.release])
            self._changed.notify_all()
        for name in sorted(taken):
            logger.info("%s is run here", name)

    def _begin_release(self, name: str) -> None:
        self._assigned.discard(name)
        self._releasing[name] = time.monotonic() + self._tuning.release_seconds

    def _release_until(self, next_look: float, session: LockSession) -> None:
        """Release projections as soon as their followers have stopped.

        Returns sooner if a follower takes part again: it need not wait.
        """
        while (seconds := next_look - time.monotonic()) > 0:
            with self._changed:
                self._changed.wait_for(lambda: self._has_to_act(session), seconds)
            if self._is_closed.is_set() or self._wanted() - session.candidate_for:
                return
            self._release_due(session)

    def _has_to_act(self, session: LockSession) -> bool:
        is_missed = bool(self._wanted() - session.candidate_for)
        return self._is_closed.is_set() or is_missed or bool(self._due())

    def _wanted(self) -> frozenset[int]:
        """The projections that can run here."""
        if self._stop.is_set():
            return frozenset()
        with self._changed:
            return frozenset(key for key, name in self._names.items() if name not in self._left)

    def _release_due(self, session: LockSession) -> None:
        for name in self._due():
            # Not before: this session would take those that it leaves to others again.
            session.be_candidate_for(self._wanted())
            session.release(key_of(name))
            with self._changed:
                del self._releasing[name]
            logger.info("%s is left to another projector", name)

    def _due(self) -> list[str]:
        now = time.monotonic()
        with self._changed:
            return [name for name, kept_until in self._releasing.items() if kept_until <= now]
