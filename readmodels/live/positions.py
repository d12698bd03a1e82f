"""Waits until a projection has come to a position, woken by the projector.

After a commit the projector says in a channel-layer group how far a projection has come. That is a
hint and no more: it may be lost, and where each machine has read models of its own it may be about
another machine's. So whoever waits looks for themselves when a hint comes, and now and then without
one.
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
from readmodels.live.broadcasts import POSITIONS
from readmodels.models import Checkpoint

logger = logging.getLogger(__name__)

# Without a hint: how long until the first look, and how far that grows.
FIRST_LOOK_SECONDS: Final = 0.05
SLOWEST_LOOK_SECONDS: Final = 0.2
# After a hint that was about another machine's read models, lest it sets the pace here.
AFTER_FALSE_HINT_SECONDS: Final = 0.01
SUBSCRIBE_TIMEOUT_SECONDS: Final = 5.0
FORGET_TIMEOUT_SECONDS: Final = 1.0
STOP_TIMEOUT_SECONDS: Final = 2.0

Found = TypeVar("Found")


def has_reached(name: str, position: int) -> bool:
    """Whether a projection has applied the event at `position`; one query."""
    return Checkpoint.objects.filter(name=name, position__gte=position).exists()


def wait_until(
    look: Callable[[], Found | None], *, name: str, position: int = 0, seconds: float
) -> Found | None:
    """What `look` finds, waiting for it for up to `seconds`; `None` where it finds nothing.

    It looks when the projection called `name` is said to have come to `position` or further. The
    database connections of this thread are given back while it waits, so that any number of
    requests may wait without one.
    """
    found = look()
    if found:
        return found
    give_up_at = time.monotonic() + seconds
    with hints.of(name, position) as hint:
        return _look_when_told(look, hint, give_up_at)


def _look_when_told(
    look: Callable[[], Found | None], hint: threading.Event, give_up_at: float
) -> Found | None:
    pause, was_told = FIRST_LOOK_SECONDS, False
    while True:
        # Cleared first: a hint that comes during the look is about what the look may have missed.
        hint.clear()
        found = look()
        left = give_up_at - time.monotonic()
        if found or left <= 0:
            return found
        _give_back_connections()
        if was_told:
            time.sleep(min(AFTER_FALSE_HINT_SECONDS, left))
        was_told = hint.wait(min(pause, left))
        pause = min(2 * pause, SLOWEST_LOOK_SECONDS)


def _give_back_connections() -> None:
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close()


@dataclass(frozen=True, eq=False)
class _Waiter:
    name: str
    position: int
    hint: threading.Event = field(default_factory=threading.Event)

    def wants(self, name: str, position: int) -> bool:
        return self.name == name and self.position <= position


class Hints:
    """Passes on to those who wait in this process what is said of positions.

    The listening begins when someone first waits.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiters: set[_Waiter] = set()
        self._listener: Listener | None = None

    @contextlib.contextmanager
    def of(self, name: str, position: int) -> Iterator[threading.Event]:
        """An event that is set whenever a projection is said to be at `position` or further."""
        waiter = _Waiter(name, position)
        with self._lock:
            self._waiters.add(waiter)
            if self._listener is None:
                self._listener = Listener(self)
        try:
            yield waiter.hint
        finally:
            with self._lock:
                self._waiters.discard(waiter)

    def heard(self, name: str, position: int) -> None:
        """Tell those whom it concerns that a projection is said to have come to `position`."""
        with self._lock:
            for waiter in self._waiters:
                if waiter.wants(name, position):
                    waiter.hint.set()

    def may_have_missed(self) -> None:
        """Tell all who wait to look for themselves."""
        with self._lock:
            for waiter in self._waiters:
                waiter.hint.set()

    @property
    def waiting(self) -> int:
        """How many wait."""
        with self._lock:
            return len(self._waiters)

    @property
    def is_listening(self) -> bool:
        """Whether hints are being heard, as far as is known."""
        with self._lock:
            return self._listener is not None and self._listener.is_subscribed

    def close(self) -> None:
        """Stop listening. Whoever waits afterwards begins it again."""
        with self._lock:
            listener, self._listener = self._listener, None
        if listener is not None:
            listener.close()


class Listener:
    """A member of the channel-layer group, in a thread and an event loop of its own."""

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
        # First, lest the layer unsubscribes at a server that may be away.
        await self._forget_channels()
        listening.cancel()
        await asyncio.wait([listening])

    async def _keep_listening(self) -> None:
        while True:
            try:
                await self._listen()
            except Exception as error:  # noqa: BLE001 (whatever a channel layer raises when it is away)
                self.is_subscribed = False
                self._outage.begin(type(error).__qualname__)
            await self._forget_channels()
            await asyncio.sleep(self._backoff.next_delay())

    async def _listen(self) -> None:
        async with asyncio.timeout(SUBSCRIBE_TIMEOUT_SECONDS):
            channel = await self._layer.new_channel()
            await self._layer.group_add(POSITIONS, channel)
        self.is_subscribed = True
        self._outage.end()
        self._backoff.reset()
        # Subscribed first, looked then: what was said before was not heard.
        self._hints.may_have_missed()
        while True:
            self._take_in(await self._layer.receive(channel))

    def _take_in(self, message: dict[str, Any]) -> None:
        match message:
            case {"name": str(name), "position": int(position)}:
                self._hints.heard(name, position)

    async def _forget_channels(self) -> None:
        # An attempt that fails leaves its channel's queue behind. What this loop has in the layer
        # is all this thread's.
        with contextlib.suppress(Exception):
            async with asyncio.timeout(FORGET_TIMEOUT_SECONDS):
                await self._layer.flush()


hints = Hints()
atexit.register(hints.close)
