"""What open pages show, read and rendered once for all pages that show the same.

The first page that watches a group begins its live view: one subscription, one reader. When the
group hears of a change, the view reads the read model once, renders once what has changed, and each
page that was level gets this same frame; a page that was not is given the whole. The last page ends
the view.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final, Protocol
from weakref import WeakKeyDictionary

from channels import DEFAULT_CHANNEL_LAYER
from channels.db import database_sync_to_async
from channels.layers import channel_layers

from lepret.common.moments import oldest

logger = logging.getLogger(__name__)

LOOK_AGAIN_SECONDS: Final = 10.0
SUBSCRIBE_TIMEOUT_SECONDS: Final = 5.0
READ_TIMEOUT_SECONDS: Final = 20.0
END_TIMEOUT_SECONDS: Final = 5.0
UNSUBSCRIBE_TIMEOUT_SECONDS: Final = 2.0

# Apart from the thread that consumers share, in which each page that opens asks who it is.
_readers = ThreadPoolExecutor(max_workers=4, thread_name_prefix="live-view")


class Content(Protocol):
    """What a page shows, as it was read at one time. Equal contents look the same."""

    def changes_since(self, before: Any) -> str:
        """Fragments that turn `before`, an older content, into this one; the whole for `None`."""


Read = Callable[[], Content]
_Receive = Callable[[], Awaitable[dict[str, Any]]]


class LiveViewLost(Exception):
    """The read model or the channel layer went away. Whoever comes again finds a new view."""


@dataclass(frozen=True)
class Frame:
    """What is to be sent to a page.

    `recorded_at` is when the oldest event behind it was recorded (Unix time), where a broadcast
    said so.
    """

    fragments: str
    recorded_at: float | None


@contextlib.asynccontextmanager
async def watching(group: str, read: Read) -> AsyncIterator[Watch]:
    """A page's place at the live view of a group. `read` is called in a thread."""
    views = _views.setdefault(asyncio.get_running_loop(), {})
    view = views.get(group)
    if view is None or view.is_lost:
        view = views[group] = _LiveView(group, read)
    watch = view.attach()
    try:
        yield watch
    finally:
        view.detach(watch)
        if not view.is_watched:
            if views.get(group) is view:
                del views[group]
            await view.end()


class Watch:
    """One page's place at a live view."""

    def __init__(self, view: _LiveView) -> None:
        self._view = view
        self._news = asyncio.Event()
        self._given: int | None = None  # the number of the state that the page has, or is getting
        self._recorded_at: float | None = None

    async def next_frame(self) -> Frame:
        """What makes the page level. Waits until there is something, however long that takes.

        Raises:
            LiveViewLost: the view cannot be kept level any more.
        """
        await self._news.wait()
        self._news.clear()
        state = self._view.state
        if state is None:
            raise LiveViewLost
        recorded_at, self._recorded_at = self._recorded_at, None
        is_one_behind = self._given == state.number - 1
        self._given = state.number
        return Frame(state.step if is_one_behind else await state.whole(), recorded_at)

    def start_over(self) -> None:
        """The page is not sure of what it has: it gets the whole, as it is now."""
        self._given = None
        self._view.look_again()

    def tell(self, state: _State | None, recorded_at: float | None = None) -> None:
        """The view has looked, and this is what it saw; `None` where it is lost."""
        if state is not None and self._given == state.number:
            return
        self._recorded_at = oldest(self._recorded_at, recorded_at)
        self._news.set()


@dataclass(eq=False)
class _State:
    """What a view shows at one time. `step` turns the state with the number before into it."""

    content: Content
    number: int = 0
    step: str = ""
    _whole: str | None = None
    _rendering: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def whole(self) -> str:
        """All of it, rendered when it is first asked for."""
        async with self._rendering:
            if self._whole is None:
                self._whole = await asyncio.to_thread(self.content.changes_since, None)
        return self._whole


class _LiveView:
    """Follows a group, and tells those who watch. It runs from its making until `end`."""

    def __init__(self, group: str, read: Read) -> None:
        self.state: _State | None = None
        self.is_lost = False
        self._group = group
        self._look = database_sync_to_async(
            functools.partial(_look, read), thread_sensitive=False, executor=_readers
        )
        self._watches: set[Watch] = set()
        self._changed = asyncio.Event()
        self._recorded_at: float | None = None  # of the oldest event told of since the last look
        self._running = asyncio.create_task(self._run())

    @property
    def is_watched(self) -> bool:
        return bool(self._watches)

    def attach(self) -> Watch:
        watch = Watch(self)
        self._watches.add(watch)
        # What was last seen may be seconds old, where a broadcast was lost.
        self.look_again()
        return watch

    def look_again(self) -> None:
        self._changed.set()

    def detach(self, watch: Watch) -> None:
        self._watches.discard(watch)

    async def end(self) -> None:
        self._running.cancel()
        await asyncio.wait([self._running], timeout=END_TIMEOUT_SECONDS)

    async def _run(self) -> None:
        try:
            # Subscribe first, then read: what happens in between is at worst read twice.
            async with self._subscribed() as receive, asyncio.TaskGroup() as tasks:
                tasks.create_task(self._listen(receive))
                tasks.create_task(self._keep_level())
        except* Exception as errors:  # noqa: BLE001 (whatever database and channel layer raise)
            self._lose(errors.exceptions[0])

    @contextlib.asynccontextmanager
    async def _subscribed(self) -> AsyncIterator[_Receive]:
        layer = channel_layers[DEFAULT_CHANNEL_LAYER]
        async with asyncio.timeout(SUBSCRIBE_TIMEOUT_SECONDS):
            channel = await layer.new_channel()
        try:
            async with asyncio.timeout(SUBSCRIBE_TIMEOUT_SECONDS):
                await layer.group_add(self._group, channel)
            yield functools.partial(layer.receive, channel)
        finally:
            # Where the channel layer is away, so is the subscription.
            with contextlib.suppress(Exception):
                async with asyncio.timeout(UNSUBSCRIBE_TIMEOUT_SECONDS):
                    await layer.group_discard(self._group, channel)

    async def _listen(self, receive: _Receive) -> None:
        while True:
            message = await receive()
            self._recorded_at = oldest(self._recorded_at, message.get("recorded_at"))
            self._changed.set()

    async def _keep_level(self) -> None:
        while True:
            self._changed.clear()
            recorded_at, self._recorded_at = self._recorded_at, None
            # What is heard during one look makes one more.
            async with asyncio.timeout(READ_TIMEOUT_SECONDS):
                self.state = await self._look(self.state)
            self._tell(recorded_at)
            with contextlib.suppress(TimeoutError):
                # Not `wait_for`, which loses a cancellation that comes together with the event.
                async with asyncio.timeout(LOOK_AGAIN_SECONDS):
                    await self._changed.wait()

    def _tell(self, recorded_at: float | None = None) -> None:
        for watch in self._watches:
            watch.tell(self.state, recorded_at)

    def _lose(self, error: Exception) -> None:
        logger.warning("Lost what live pages show (%s)", type(error).__qualname__)
        self.is_lost = True
        self.state = None
        self._tell()


_views: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, _LiveView]] = WeakKeyDictionary()


def _look(read: Read, before: _State | None) -> _State:
    """The state as it is now, which is `before` where nothing has changed. Runs in a thread."""
    content = read()
    if before is None:
        return _State(content)
    if content == before.content:
        return before
    return _State(content, before.number + 1, content.changes_since(before.content))
