"""Waits until a projection has reached a position, woken by the projector.

Soon after a commit the projector announces the projection's new position to a channel-layer group.
That is only a hint: it may be lost, and if each machine has its own read models, it may be about
those of another. So a waiting request checks the database after each hint, and at intervals.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from channels import DEFAULT_CHANNEL_LAYER
from channels.layers import channel_layers
from django.db import connections

from lepret.common.backoff import Backoff
from lepret.common.outages import Outage
from lepret.common.turns import waiting_elsewhere
from readmodels.live.broadcasts import POSITIONS, subscribed
from readmodels.models import Checkpoint

logger = logging.getLogger(__name__)

# A pause after a hint that was about another machine's read models: there may be many.
AFTER_FALSE_HINT_SECONDS: Final = 0.01
FORGET_TIMEOUT_SECONDS: Final = 1.0
STOP_TIMEOUT_SECONDS: Final = 2.0

Found = TypeVar("Found")


def has_reached(name: str, position: int) -> bool:
    """Whether a projection has applied the event at `position`; one query."""
    # After the event store was replaced, what is recorded there is at lower positions.
    in_this_store = Checkpoint.objects.filter(store_replaced=False)
    return in_this_store.filter(name=name, position__gte=position).exists()


@dataclass(frozen=True, eq=False)
class _Waiter:
    name: str
    position: int
    hint: threading.Event = field(default_factory=threading.Event)

    def wants(self, name: str, position: int) -> bool:
        return self.name == name and self.position <= position


class Hints:
    """Passes hints on to the requests that wait in this process.

    It subscribes when the first one waits. Without a hint, a request checks the database after
    `first_pause` seconds, and then at intervals that grow to `longest_pause`.
    """

    def __init__(self, *, first_pause: float = 0.05, longest_pause: float = 0.2) -> None:
        self._first_pause = first_pause
        self._longest_pause = longest_pause
        self._lock = threading.Lock()
        self._waiters: set[_Waiter] = set()
        self._listener: _Listener | None = None

    def wait_until(
        self, look: Callable[[], Found | None], *, name: str, position: int = 0, seconds: float
    ) -> Found | None:
        """Wait up to `seconds` until `look` finds something; `None` if it does not.

        It looks again when a hint says that the projection has reached `position` or a later one.
        The thread's database connections are given back while it waits, so that any number of
        requests may wait without holding one.
        """
        found = look()
        if found:
            return found
        give_up_at = time.monotonic() + seconds
        with self.of(name, position) as hint:
            return self._look_when_told(look, hint, give_up_at)

    def _look_when_told(
        self, look: Callable[[], Found | None], hint: threading.Event, give_up_at: float
    ) -> Found | None:
        pause, was_told = self._first_pause, False
        while True:
            # Cleared before `look`, which may miss what a hint that arrives meanwhile is about.
            hint.clear()
            found = look()
            left = give_up_at - time.monotonic()
            if found or left <= 0:
                return found
            _give_back_connections()
            with waiting_elsewhere():
                if was_told:
                    time.sleep(min(AFTER_FALSE_HINT_SECONDS, left))
                was_told = hint.wait(min(pause, left))
            pause = min(2 * pause, self._longest_pause)

    @contextlib.contextmanager
    def of(self, name: str, position: int) -> Iterator[threading.Event]:
        """A `threading.Event` that each hint of `position` or a later one sets."""
        waiter = _Waiter(name, position)
        with self._lock:
            self._waiters.add(waiter)
            if self._listener is None:
                self._listener = _Listener(self)
        try:
            yield waiter.hint
        finally:
            with self._lock:
                self._waiters.discard(waiter)

    def heard(self, name: str, position: int) -> None:
        """Wake the requests that wait for `position` of this projection or an earlier one."""
        with self._lock:
            for waiter in self._waiters:
                if waiter.wants(name, position):
                    waiter.hint.set()

    def may_have_missed(self) -> None:
        """Wake all, since hints may have been lost."""
        with self._lock:
            for waiter in self._waiters:
                waiter.hint.set()

    @property
    def waiting(self) -> int:
        """How many requests wait."""
        with self._lock:
            return len(self._waiters)

    @property
    def is_listening(self) -> bool:
        """Whether it is subscribed, as far as is known."""
        with self._lock:
            return self._listener is not None and self._listener.is_subscribed

    def close(self) -> None:
        """Unsubscribe, until a request waits again."""
        with self._lock:
            listener, self._listener = self._listener, None
        if listener is not None:
            listener.close()


def _give_back_connections() -> None:
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close()


class _Listener:
    """Receives the hints, in a thread and an event loop of its own."""

    def __init__(self, hints: Hints) -> None:
        self.is_subscribed = False
        self._hints = hints
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._layer = channel_layers[DEFAULT_CHANNEL_LAYER]
        self._backoff = Backoff()
        self._outage = Outage(logger, "the channel layer", consequence="waiting takes longer")
        self._thread = threading.Thread(target=self._run, name="positions", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread."""
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(STOP_TIMEOUT_SECONDS)

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._listen_until_stopped())
        finally:
            # The channel layer closes its connections with the loop.
            self._loop.close()

    async def _listen_until_stopped(self) -> None:
        listening = asyncio.create_task(self._keep_listening())
        await self._stop.wait()
        # First, or else the layer would unsubscribe from a server that may be away.
        await self._forget_channels()
        listening.cancel()
        await asyncio.wait([listening])

    async def _keep_listening(self) -> None:
        # It also looks at `_stop`, since the channel layer may swallow a cancellation.
        while not self._stop.is_set():
            try:
                await self._listen()
            except Exception as error:  # noqa: BLE001 (whatever a channel layer raises when it is away)
                self.is_subscribed = False
                self._outage.begin(type(error).__qualname__)
            await self._forget_channels()
            await asyncio.sleep(self._backoff.next_delay())

    async def _listen(self) -> None:
        async with subscribed(POSITIONS) as receive:
            self.is_subscribed = True
            self._outage.end()
            self._backoff.reset()
            # Hints that were sent before the subscription were missed.
            self._hints.may_have_missed()
            while not self._stop.is_set():
                self._take_in(await receive())

    def _take_in(self, message: dict[str, Any]) -> None:
        match message:
            case {"positions": dict(positions)}:
                for name, position in positions.items():
                    self._hints.heard(name, position)

    async def _forget_channels(self) -> None:
        # A failed attempt leaves its channel's queue behind. Nothing else uses this loop's layer.
        with contextlib.suppress(Exception):
            async with asyncio.timeout(FORGET_TIMEOUT_SECONDS):
                await self._layer.flush()


hints = Hints()
atexit.register(hints.close)
