"""The lending policy as use cases need it: whichever version is in force, without asking each time.

Each process reads the policy's stream at most once in `KEPT_SECONDS`, so that a change reaches all
of them within twice that time. While it cannot be read, the last known policy goes on for
`LAST_KNOWN_SECONDS`.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from datetime import datetime
from typing import Final

from loans.adapters import codec
from loans.adapters.event_store import EventStore, EventStoreUnavailable, StreamGone
from loans.application.handling import handle
from loans.domain import lending_policy
from loans.domain.lending_policy import PolicyCommand, Version, Versions
from loans.domain.policy import VERSION_0, PolicyInForce

logger = logging.getLogger(__name__)

KEPT_SECONDS: Final = 5.0
LAST_KNOWN_SECONDS: Final = 60.0


class PolicyUnavailable(EventStoreUnavailable):
    """Nobody can tell which policy is in force, so nothing is decided."""


class Policies:
    """The versions of the lending policy in an event store. Threads may share it."""

    def __init__(
        self,
        event_store: EventStore,
        *,
        kept_seconds: float = KEPT_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._event_store = event_store
        self._kept_seconds = kept_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._versions: Versions = ()
        self._read_at = float("-inf")
        self._tried_at = float("-inf")

    def in_force(self, at: datetime) -> PolicyInForce:
        """The policy in force at a moment, by what the stream said some seconds ago at most.

        Raises:
            PolicyUnavailable: it has not been readable for too long.
        """
        self._refresh()
        return lending_policy.in_force(self._versions, at)

    def version_in_force(self, at: datetime) -> Version | None:
        """The version that `in_force` gives, if it is none that is built in; raises as that."""
        self._refresh()
        return lending_policy.version_in_force(self._versions, at)

    def named(self, number: int) -> PolicyInForce:
        """The policy of the version that an event names. No version ever changes.

        Raises:
            PolicyUnavailable: it is not known here, and cannot be read.
        """
        if number == VERSION_0.version:
            return VERSION_0
        if number > len(self._versions):
            # Another process has just confirmed it, or decided by it.
            with self._lock:
                self._read()
        if number > len(self._versions):
            raise PolicyUnavailable
        return PolicyInForce(number, self._versions[number - 1].policy)

    def carry_out(self, command: PolicyCommand) -> int:
        """Carry out a command about the policy; returns the position of its last event.

        Raises:
            Rejection: it cannot be carried out.
            EventStoreUnavailable, StaleRevision: not recorded; sending the command again is safe.
        """
        try:
            stream = handle(
                self._event_store,
                codec.POLICY_STREAM,
                lambda stream: lending_policy.decide(command, lending_policy.fold(stream.events)),
                command=command,
                user=command.by,
            )
        except StreamGone as gone:
            raise self._is_gone() from gone
        assert stream.position is not None, "a command that is not rejected leaves events"
        return stream.position

    def versions(self) -> Versions:
        """All versions, as the stream has them now.

        Raises:
            PolicyUnavailable: it cannot be read.
            EventStoreUnavailable: no answer in time.
        """
        try:
            return lending_policy.fold(self._event_store.load(codec.POLICY_STREAM).events)
        except StreamGone as gone:
            raise self._is_gone() from gone

    def _refresh(self) -> None:
        if self._is_fresh:
            return
        with self._lock:
            if not self._is_fresh:
                self._read()

    def _read(self) -> None:
        try:
            self._versions = self.versions()
            self._read_at = self._clock()
        except EventStoreUnavailable as loss:
            if not self._is_known:
                raise PolicyUnavailable from loss
            logger.warning("The lending policy cannot be read: the last known one goes on")
        finally:
            # Not before a call that may have hung: those who wait for it must not try again.
            self._tried_at = self._clock()

    @property
    def _is_fresh(self) -> bool:
        return self._is_known and self._clock() - self._tried_at < self._kept_seconds

    @property
    def _is_known(self) -> bool:
        return self._clock() - self._read_at < LAST_KNOWN_SECONDS

    def _is_gone(self) -> PolicyUnavailable:
        logger.error("The events of the lending policy were deleted: restore %s", codec.POLICY_NAME)
        return PolicyUnavailable()
