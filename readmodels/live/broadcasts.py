"""Sends messages to the channel layer's groups, and subscribes to them.

A broadcast carries ids, never rows: its receivers read the rows again. It is a hint that may be
lost, so a projection never fails because one cannot be sent.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from datetime import datetime
from typing import Any, Final, Self, cast
from uuid import UUID

from channels import DEFAULT_CHANNEL_LAYER
from channels.layers import channel_layers

from lepret.common.channel_layer import ChannelLayer
from lepret.common.moments import oldest
from lepret.common.outages import Outage

logger = logging.getLogger(__name__)

UNDERWRITING: Final = "underwriting"
# The group that is told which position each projection has reached.
POSITIONS: Final = "positions"

SUBSCRIBE_TIMEOUT_SECONDS: Final = 5.0
UNSUBSCRIBE_TIMEOUT_SECONDS: Final = 2.0
SEND_TIMEOUT_SECONDS: Final = 2.0
LAST_SEND_SECONDS: Final = 0.5
# Between two sends, so that a busy projector spends its time on events.
PAUSE_SECONDS: Final = 0.002
# Positions alone wait this long for those of other projections: a message takes a projector as much
# time as a commit. Whoever waits for one looks again after a while without it.
POSITIONS_WAIT_SECONDS: Final = 0.01
# How many ids may wait while the channel layer is slow or away. Beyond that, pages update late.
MOST_WAITING_IDS: Final = 5_000

# The types of the messages.
CHANGED: Final = "changed"
REACHED: Final = "reached"

Receive = Callable[[], Awaitable[dict[str, Any]]]


def loan_request_group(loan_request_id: UUID) -> str:
    """The group of an applicant's open pages that show one loan request."""
    return f"loan-request.{loan_request_id.hex}"


def underwriting_group(loan_request_id: UUID) -> str:
    """The group of underwriters' open pages that show one loan request.

    Not the applicant's: all pages of a group are sent the same.
    """
    return f"{UNDERWRITING}.{loan_request_id.hex}"


@contextlib.asynccontextmanager
async def subscribed(group: str) -> AsyncIterator[Receive]:
    """Subscribe to a group; yields a function that waits for its next message."""
    layer = channel_layers[DEFAULT_CHANNEL_LAYER]
    async with asyncio.timeout(SUBSCRIBE_TIMEOUT_SECONDS):
        channel = await layer.new_channel()
    try:
        async with asyncio.timeout(SUBSCRIBE_TIMEOUT_SECONDS):
            await layer.group_add(group, channel)
        yield functools.partial(layer.receive, channel)
    finally:
        # If the channel layer is away, the subscription is gone with it.
        with contextlib.suppress(Exception):
            async with asyncio.timeout(UNSUBSCRIBE_TIMEOUT_SECONDS):
                await layer.group_discard(group, channel)


async def tell(groups: Iterable[str], loan_request_id: UUID) -> None:
    """Tell groups at once, from an event loop, that a loan request looks different now."""
    change = _Change()
    change.add([loan_request_id], None)
    # If it is lost, pages look again without it.
    with contextlib.suppress(Exception):
        await _send_to_groups((group, change.message()) for group in groups)


async def _send_to_groups(messages: Iterable[tuple[str, dict[str, Any]]]) -> None:
    layer = cast(ChannelLayer, channel_layers[DEFAULT_CHANNEL_LAYER])
    async with asyncio.timeout(SEND_TIMEOUT_SECONDS):
        await layer.group_send_all(messages)


class Broadcaster:
    """Sends to groups in a thread of its own, so that callers never wait. A context manager.

    All that is added during one send goes out together in the next: one message per group with all
    changed ids, and one with the last position of each projection. So the queue is bounded, however
    much is added and however slow the channel layer is.

    It keeps one event loop: a channel layer has connections per loop, so a new loop for each call
    would connect each time.
    """

    def __init__(self, *, most_waiting_ids: int = MOST_WAITING_IDS) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="broadcasts", daemon=True)
        self._filled = asyncio.Event()
        self._is_closed = False
        self._most_waiting_ids = most_waiting_ids
        self._lock = threading.Lock()  # guards the two below
        self._outbox = _Outbox(most_waiting_ids)
        self._last_sent = _done()
        self._outage = Outage(logger, "the channel layer", consequence="pages update late")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(TimeoutError):
            self._last_sent.result(LAST_SEND_SECONDS)
        self._loop.call_soon_threadsafe(self._close)
        self._thread.join()

    def _close(self) -> None:
        self._is_closed = True
        self._filled.set()

    def send(
        self, changes: Mapping[str, Iterable[UUID]], *, recorded_at: datetime | None = None
    ) -> Future[None]:
        """Tell each group which loan requests have changed. Returns at once.

        `recorded_at` is when the oldest of the events that changed them was recorded, if known.
        The future is done when everything has been sent or lost.
        """
        with self._lock:
            outbox = self._outbox
            if not outbox.has_changes:
                self._loop.call_soon_threadsafe(self._filled.set)
            for group, ids in changes.items():
                outbox.add(group, ids, recorded_at)
            self._last_sent = outbox.sent
        return outbox.sent

    def send_reached(self, name: str, position: int) -> Future[None]:
        """Announce, in a moment, that a projection has reached a position. Returns at once.

        The future is done when this position, or a later one, has been sent or lost.
        """
        with self._lock:
            outbox = self._outbox
            if not (outbox.reached or outbox.has_changes):
                self._loop.call_soon_threadsafe(self._send_soon)
            outbox.reached[name] = position
            self._last_sent = outbox.sent
        return outbox.sent

    def _send_soon(self) -> None:
        self._loop.call_later(POSITIONS_WAIT_SECONDS, self._filled.set)

    def _run(self) -> None:
        self._loop.run_until_complete(self._keep_sending())
        self._loop.close()

    async def _keep_sending(self) -> None:
        # Not ended by cancelling it, which a channel layer may swallow.
        while not self._is_closed:
            await self._filled.wait()
            self._filled.clear()
            with self._lock:
                outbox, self._outbox = self._outbox, _Outbox(self._most_waiting_ids)
            await self._send_all(outbox)
            outbox.sent.set_result(None)
            await asyncio.sleep(PAUSE_SECONDS)

    async def _send_all(self, outbox: _Outbox) -> None:
        try:
            await _send_to_groups(outbox.messages())
            self._outage.end()
        except Exception as error:  # noqa: BLE001 (whatever a channel layer raises when it is away)
            self._outage.begin(type(error).__name__)


class _Change:
    """The next message to one group."""

    def __init__(self) -> None:
        self.ids: set[UUID] = set()
        self.recorded_at: datetime | None = None

    def add(self, ids: Iterable[UUID], recorded_at: datetime | None) -> None:
        self.ids.update(ids)
        self.recorded_at = oldest(self.recorded_at, recorded_at)

    def message(self) -> dict[str, Any]:
        message: dict[str, Any] = {"type": CHANGED, "ids": [str(each) for each in self.ids]}
        if self.recorded_at is not None:
            message["recorded_at"] = self.recorded_at.timestamp()
        return message


class _Outbox:
    """Messages that will be sent together."""

    def __init__(self, most_ids: int) -> None:
        self.reached: dict[str, int] = {}
        self.sent: Future[None] = Future()
        # Several callers share the future: none of them may cancel it.
        self.sent.set_running_or_notify_cancel()
        self._changes: dict[str, _Change] = {}
        self._ids_left = most_ids

    @property
    def has_changes(self) -> bool:
        """Whether there is more to send than positions."""
        return bool(self._changes)

    def add(self, group: str, ids: Iterable[UUID], recorded_at: datetime | None) -> None:
        """Add a change, if there is room."""
        if self._ids_left <= 0:
            return
        change = self._changes.setdefault(group, _Change())
        before = len(change.ids)
        change.add(ids, recorded_at)
        self._ids_left -= len(change.ids) - before

    def messages(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Each message, with the group that it goes to."""
        for group, change in self._changes.items():
            yield group, change.message()
        if self.reached:
            yield POSITIONS, {"type": REACHED, "positions": self.reached}


def _done() -> Future[None]:
    future: Future[None] = Future()
    future.set_result(None)
    return future
