"""Runs several actors on one event store, call by call, in an order that the test chooses."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from loans.adapters.codec import E, StreamId
from loans.adapters.event_store import Stream
from loans.domain.events import Event
from tests.support.fakes import FakeEventStore
from tests.support.processes import PATIENCE


class Killed(BaseException):
    """Ends an actor where it is, like `kill -9`. It is no `Exception`, so nothing handles it."""


class Actor(threading.Thread):
    """A thread that waits for its turn before each call of the event store."""

    def __init__(self, store: FakeEventStore, work: Callable[[TakingTurns], object]) -> None:
        super().__init__(daemon=True)
        self._work = work
        self._store = TakingTurns(store, self)
        self._may_go = threading.Semaphore(0)
        self._has_paused = threading.Semaphore(0)
        self._is_killed = False
        self.ended = False
        self.raised: BaseException | None = None

    def begin(self) -> None:
        """Start, and run up to the first call."""
        self.start()
        assert self._has_paused.acquire(timeout=PATIENCE)

    def go(self) -> None:
        """Make one call, and run up to the next one or to the end."""
        self._may_go.release()
        assert self._has_paused.acquire(timeout=PATIENCE)

    def kill(self) -> None:
        """End the actor before its next call."""
        self._is_killed = True
        if not self.ended:
            self.go()

    def wait_for_turn(self) -> None:
        """Called by the actor's own thread before each call."""
        self._has_paused.release()
        assert self._may_go.acquire(timeout=PATIENCE)
        if self._is_killed:
            raise Killed

    def run(self) -> None:
        try:
            self._work(self._store)
        except BaseException as error:  # noqa: BLE001 (the test looks at it)
            self.raised = error
        finally:
            self.ended = True
            self._has_paused.release()


class TakingTurns(FakeEventStore):
    """An actor's access to the shared event store."""

    def __init__(self, shared: FakeEventStore, actor: Actor) -> None:
        super().__init__(streams=shared.streams, event_ids=shared.event_ids, clock=shared.clock)
        self._actor = actor

    def load(self, stream: StreamId[E]) -> Stream[E]:
        self._actor.wait_for_turn()
        return super().load(stream)

    def assume_new(self, stream: StreamId[E]) -> Stream[E]:
        self._actor.wait_for_turn()
        return super().assume_new(stream)

    def append(self, stream: StreamId[E], events: Sequence[Event], **how: Any) -> int:
        self._actor.wait_for_turn()
        return super().append(stream, events, **how)


def take_turns(actors: Sequence[Actor], order: Iterable[int], *, killed: Iterable[int]) -> None:
    """Run the actors in this order, kill some, and then run the others to their end."""
    for actor in actors:
        actor.begin()
    for number in order:
        if not actors[number % len(actors)].ended:
            actors[number % len(actors)].go()
    for number in killed:
        actors[number % len(actors)].kill()
    for actor in actors:
        while not actor.ended:
            actor.go()
