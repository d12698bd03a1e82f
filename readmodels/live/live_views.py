"""Reads and renders what open pages show, once for all pages that show the same.

The first page that watches a group starts its live view, which subscribes to the group and reads
the read model. When the group is told of a change, the view reads once and renders what has changed
once. Each page that was up to date is sent this frame. One that fell behind, since the server or
the page was busy, is sent what has changed since, or everything if that is long ago. The view ends
with its last page.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final, Protocol
from weakref import WeakKeyDictionary

from channels.db import database_sync_to_async

from lepret.common.moments import oldest
from readmodels.live.broadcasts import Receive, subscribed

logger = logging.getLogger(__name__)

END_TIMEOUT_SECONDS: Final = 5.0
# How many changes a page may be behind without being sent everything, which may be a megabyte.
MOST_BEHIND: Final = 10

# Not the thread that all consumers share, in which opening pages check their users.
_readers = ThreadPoolExecutor(max_workers=4, thread_name_prefix="live-view")


class Content(Protocol):
    """What a page shows, read at one moment. Equal contents look the same."""

    def changes_since(self, before: Any) -> str:
        """Fragments that turn an older content into this one; all of it if `before` is `None`."""


Read = Callable[[], Content]

Greet = Callable[[Any], Sequence[str] | None]
"""Fragments for a page that was loaded with this content; `None` if it was loaded with another.

What is long is in several parts, so that nobody waits for a browser that is busy with all of it.
"""


class LiveViewLost(Exception):
    """The read model or the channel layer is away. The next page to connect gets a new view."""


@dataclass(frozen=True)
class ViewTimes:
    """How often a live view reads without a broadcast, and how long a read may take, in seconds."""

    read_interval: float = 10.0
    read_timeout: float = 20.0


@dataclass(frozen=True)
class Frame:
    """Fragments for a page; `rest` follows, each part by itself.

    `recorded_at` is when the oldest event that they show was recorded (Unix time); `None` if no
    broadcast said so.
    """

    fragments: str
    recorded_at: float | None
    rest: Sequence[str] = ()


@contextlib.asynccontextmanager
async def watching(
    group: str, read: Read, *, times: ViewTimes = ViewTimes(), greet: Greet | None = None
) -> AsyncIterator[Watch]:
    """Attach a page to the live view of a group. `read` and `greet` are called in threads.

    The `times` are those of the page that starts the view. Without `greet`, what a page was loaded
    with is not known, and it is first sent everything.
    """
    views = _views.setdefault(asyncio.get_running_loop(), {})
    view = views.get(group)
    if view is None or view.is_lost:
        view = views[group] = _LiveView(group, read, times)
    watch = view.attach(greet)
    try:
        yield watch
    finally:
        view.detach(watch)
        if not view.is_watched:
            if views.get(group) is view:
                del views[group]
            await view.end()


class Watch:
    """One page's subscription to a live view."""

    def __init__(self, view: _LiveView, greet: Greet | None) -> None:
        self._view = view
        self._greet = greet
        self._news = asyncio.Event()
        self._given: int | None = None  # the number of the state that the page has or is sent
        self._recorded_at: float | None = None

    async def next_frame(self) -> Frame:
        """Wait, without limit, for the frame that brings the page up to date.

        Raises:
            LiveViewLost: the view cannot be kept up to date any more.
        """
        while True:
            await self._news.wait()
            self._news.clear()
            state = self._view.state
            if state is None:
                raise LiveViewLost
            recorded_at, self._recorded_at = self._recorded_at, None
            given, self._given = self._given, state.number
            first, *rest = await self._greeting(state, given) or [await state.since(given)]
            if first:  # Otherwise it has become what it was.
                return Frame(first, recorded_at, rest)

    async def _greeting(self, state: _State, given: int | None) -> Sequence[str] | None:
        greet, self._greet = self._greet, None
        if given is not None:
            return None
        return await asyncio.to_thread(greet, state.content) if greet else None

    def look_again(self) -> None:
        """Read again, and send the page what has changed."""
        self._view.read_again()

    def start_over(self) -> None:
        """Read again and send the page everything, since it may be outdated."""
        self._given = self._greet = None
        self._view.read_again()

    def tell(self, state: _State | None, recorded_at: float | None = None) -> None:
        """Pass on what the view has read; `None` if the view is lost."""
        if state is not None and self._given == state.number:
            return
        self._recorded_at = oldest(self._recorded_at, recorded_at)
        self._news.set()


@dataclass(eq=False)
class _State:
    """What a view shows at one moment, and what it has shown before, by number."""

    content: Content
    number: int = 0
    earlier: Mapping[int, Content] = field(default_factory=dict)
    # What turns an earlier state into this one; of `None`, everything.
    _rendered: dict[int | None, str] = field(default_factory=dict)
    _rendering: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def since(self, number: int | None) -> str:
        """What turns that state into this one, or everything, rendered when it is first asked for.

        Everything is for pages that have no state, or one that is not known any more.
        """
        if number not in self.earlier:
            number = None
        if number not in self._rendered:
            async with self._rendering:
                if number not in self._rendered:
                    self._rendered[number] = await asyncio.to_thread(self._changes, number)
        return self._rendered[number]

    def next(self, content: Content) -> _State:
        """The state after this one. The pages that are up to date need what has changed at once."""
        known = {**self.earlier, self.number: self.content}
        latest = {number: known[number] for number in list(known)[-MOST_BEHIND:]}
        step = content.changes_since(self.content)
        return _State(content, self.number + 1, latest, {self.number: step})

    def _changes(self, number: int | None) -> str:
        return self.content.changes_since(None if number is None else self.earlier[number])


class _LiveView:
    """Follows a group, and tells its watches. It runs from its construction until `end`."""

    def __init__(self, group: str, read: Read, times: ViewTimes) -> None:
        self.state: _State | None = None
        self.is_lost = False
        self._group = group
        self._read = database_sync_to_async(
            functools.partial(_next_state, read), thread_sensitive=False, executor=_readers
        )
        self._times = times
        self._watches: set[Watch] = set()
        self._changed = asyncio.Event()
        self._recorded_at: float | None = None  # of the oldest event announced since the last read
        self._running = asyncio.create_task(self._run())

    @property
    def is_watched(self) -> bool:
        return bool(self._watches)

    def attach(self, greet: Greet | None) -> Watch:
        watch = Watch(self, greet)
        self._watches.add(watch)
        # The last state may be seconds old if a broadcast was lost.
        self.read_again()
        return watch

    def read_again(self) -> None:
        self._changed.set()

    def detach(self, watch: Watch) -> None:
        self._watches.discard(watch)

    async def end(self) -> None:
        # Twice, since the channel layer may swallow a cancellation while it subscribes.
        for _ in range(2):
            self._running.cancel()
            await asyncio.wait([self._running], timeout=END_TIMEOUT_SECONDS)

    async def _run(self) -> None:
        try:
            # Subscribe first, then read: a change in between is at worst read twice.
            async with subscribed(self._group) as receive, asyncio.TaskGroup() as tasks:
                tasks.create_task(self._listen(receive))
                tasks.create_task(self._keep_reading())
        except* Exception as errors:  # noqa: BLE001 (whatever database and channel layer raise)
            self._lose(errors.exceptions[0])

    async def _listen(self, receive: Receive) -> None:
        while True:
            message = await receive()
            self._recorded_at = oldest(self._recorded_at, message.get("recorded_at"))
            self._changed.set()

    async def _keep_reading(self) -> None:
        while True:
            self._changed.clear()
            recorded_at, self._recorded_at = self._recorded_at, None
            # However many broadcasts arrive during one read, they cause one more.
            async with asyncio.timeout(self._times.read_timeout):
                self.state = await self._read(self.state)
            self._tell(recorded_at)
            with contextlib.suppress(TimeoutError):
                # Not `wait_for`, which loses a cancellation that comes together with the event.
                async with asyncio.timeout(self._times.read_interval):
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


def _next_state(read: Read, before: _State | None) -> _State:
    """Read the content; returns `before` if nothing has changed. Runs in a thread."""
    content = read()
    if before is None:
        return _State(content)
    if content == before.content:
        return before
    return before.next(content)
