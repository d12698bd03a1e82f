"""The websockets of open pages, over which fragments of HTML are sent.

Pages that show the same share a live view, which makes the fragments. It reads the read model when
a broadcast says that something may have changed, and every few seconds without one. So a lost
broadcast is a late update and never a wrong page.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from dataclasses import dataclass
from typing import Any, ClassVar, Final
from uuid import UUID

from channels.auth import UserLazyObject
from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncWebsocketConsumer
from django.contrib.auth.models import User
from django.contrib.sessions.backends.base import SessionBase

from lepret.common.backoff import jittered
from lepret.staff.roles import is_underwriter
from readmodels.live import broadcasts, frame_latency
from readmodels.live.live_views import LiveViewLost, Read, ViewTimes, Watch, watching
from readmodels.pages.queue_page import QueuePage
from readmodels.pages.status_page import StatusPage

logger = logging.getLogger(__name__)

FORBIDDEN: Final = 4403
# One of the codes for applications. The standard codes are for the protocol itself.
TRY_AGAIN: Final = 4013


@dataclass(frozen=True)
class PageTimes(ViewTimes):
    """How often a page checks whether its user may still see it, and how long a frame may take."""

    check_interval: float = 10.0
    send_timeout: float = 5.0


class NotAllowed(Exception):
    """The user may not see the page any more."""


class LivePage(AsyncWebsocketConsumer):
    """Keeps one open page up to date with its live view."""

    # The live view receives broadcasts for all its pages: none needs a channel of its own.
    channel_layer_alias = ""

    page: ClassVar[str]
    """The label of these pages in the frame latencies."""

    def __init__(self, *, times: PageTimes = PageTimes()) -> None:
        super().__init__()
        self._times = times
        self._staying_open: asyncio.Task[None] | None = None
        self._watch: Watch | None = None

    async def __call__(self, *args: Any) -> None:
        try:
            await super().__call__(*args)
        finally:  # Not in `disconnect`: a server may cancel this without calling it.
            if self._staying_open is not None:
                self._staying_open.cancel()
                await asyncio.wait([self._staying_open])

    async def connect(self) -> None:
        if not await self.is_allowed():
            await self.close(code=FORBIDDEN)
            return
        await self.accept()
        self._staying_open = asyncio.create_task(self._stay_open())

    async def is_allowed(self) -> bool:
        """Whether the user may see the page, now."""
        return True

    def group(self) -> str:
        """The channel-layer group that is told of changes to the page."""
        raise NotImplementedError

    def reader(self) -> Read:
        """The function that reads what the page shows."""
        raise NotImplementedError

    async def _stay_open(self) -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._send_frames())
                tasks.create_task(self._keep_checking())
        except* Exception as errors:  # noqa: BLE001 (the browser connects again, and gets it all)
            await self._close_because_of(errors.exceptions[0])

    async def _send_frames(self) -> None:
        async with watching(self.group(), self.reader(), times=self._times) as watch:
            self._watch = watch
            while True:
                frame = await watch.next_frame()
                async with asyncio.timeout(self._times.send_timeout):
                    await self.send(frame.fragments)
                frame_latency.observe(self.page, frame.recorded_at)

    async def _keep_checking(self) -> None:
        while True:
            # With jitter: pages that were opened together do not check together.
            await asyncio.sleep(jittered(self._times.check_interval))
            if not await self.is_allowed():
                raise NotAllowed

    async def _close_because_of(self, error: Exception) -> None:
        """Close the page. If its user is allowed to, the browser connects again and gets it all."""
        if not isinstance(error, NotAllowed | LiveViewLost):
            logger.warning("A live page could not be updated: %s", type(error).__qualname__)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._times.send_timeout):
                await self.close(code=FORBIDDEN if isinstance(error, NotAllowed) else TRY_AGAIN)


class UnderwritingConsumer(LivePage):
    """The underwriters' queue."""

    page = "underwriting"

    async def is_allowed(self) -> bool:
        return await database_sync_to_async(_is_underwriters_page)(
            self.scope["user"], self.scope["session"]
        )

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """Start over. A page that knows that it is outdated sends a message, with any content."""
        if self._watch is not None:
            self._watch.start_over()

    def group(self) -> str:
        return broadcasts.UNDERWRITING

    def reader(self) -> Read:
        return QueuePage.read


class LoanStatusConsumer(LivePage):
    """An applicant's status page."""

    page = "loan_status"

    def group(self) -> str:
        return broadcasts.loan_request_group(self._loan_request_id)

    def reader(self) -> Read:
        return functools.partial(StatusPage.read, self._loan_request_id)

    @property
    def _loan_request_id(self) -> UUID:
        loan_request_id: UUID = self.scope["url_route"]["kwargs"]["loan_request_id"]
        return loan_request_id


def _is_underwriters_page(user: UserLazyObject | None, session: SessionBase) -> bool:
    # Both are read again: the page may be hours old, and its user logged out on another page.
    if user is None or session.session_key is None or not session.exists(session.session_key):
        return False
    current = User.objects.filter(pk=user.pk).first()
    return current is not None and is_underwriter(current)
