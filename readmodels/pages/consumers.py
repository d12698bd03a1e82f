"""Pages that update themselves: a websocket each, on which fragments of HTML are sent.

What is sent comes from a live view, which all pages share that show the same. It looks at the read
model when a broadcast says that something may have changed, and by itself every few seconds, so
that a lost broadcast is a late update and never a wrong page.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
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
from readmodels.live.live_views import LiveViewLost, Read, Watch, watching
from readmodels.pages.queue_page import QueuePage
from readmodels.pages.status_page import StatusPage

logger = logging.getLogger(__name__)

# The right to see a page may end while it is open.
ASK_AGAIN_SECONDS: Final = 10.0
TAKE_FRAME_SECONDS: Final = 5.0
FORBIDDEN: Final = 4403
# Of the codes that a server may send: the standard ones are for the protocol's own use.
TRY_AGAIN: Final = 4013


class NotAllowed(Exception):
    """Whoever opened the page may not see it any more."""


class LivePage(AsyncWebsocketConsumer):
    """Keeps one open page level with its live view."""

    # The live view hears broadcasts for all its pages: none needs a channel of its own.
    channel_layer_alias = ""

    page: ClassVar[str]
    """What the frame latencies of such pages are counted under."""

    _staying_open: asyncio.Task[None] | None = None
    _watch: Watch | None = None

    async def __call__(self, *args: Any) -> None:
        try:
            await super().__call__(*args)
        finally:  # However it ends: a server may cancel it without a word to `disconnect`.
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
        """Whether whoever opened the page may see it, now."""
        return True

    def group(self) -> str:
        """The channel-layer group in which changes to this page are announced."""
        raise NotImplementedError

    def reader(self) -> Read:
        """What reads that which all pages of this group show."""
        raise NotImplementedError

    async def _stay_open(self) -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._keep_level())
                tasks.create_task(self._keep_asking())
        except* Exception as errors:  # noqa: BLE001 (the browser connects again, and lists anew)
            await self._close_because_of(errors.exceptions[0])

    async def _keep_level(self) -> None:
        async with watching(self.group(), self.reader()) as watch:
            self._watch = watch
            while True:
                frame = await watch.next_frame()
                async with asyncio.timeout(TAKE_FRAME_SECONDS):
                    await self.send(frame.fragments)
                frame_latency.observe(self.page, frame.recorded_at)

    async def _keep_asking(self) -> None:
        while True:
            # Pages that were opened together do not ask together.
            await asyncio.sleep(jittered(ASK_AGAIN_SECONDS))
            if not await self.is_allowed():
                raise NotAllowed

    async def _close_because_of(self, error: Exception) -> None:
        """Close the page; the browser connects again, if it may, and lists anew."""
        if not isinstance(error, NotAllowed | LiveViewLost):
            logger.warning("A live page could not be updated: %s", type(error).__qualname__)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(TAKE_FRAME_SECONDS):
                await self.close(code=FORBIDDEN if isinstance(error, NotAllowed) else TRY_AGAIN)


class UnderwritingConsumer(LivePage):
    """The underwriters' queue."""

    page = "underwriting"

    async def is_allowed(self) -> bool:
        return await database_sync_to_async(_is_underwriters_page)(
            self.scope["user"], self.scope["session"]
        )

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """Whatever the page sends: it was told that it is out of date, and wants to start over."""
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
    # Both are read anew: the page may have been open for hours, and its user logged out elsewhere.
    if user is None or session.session_key is None or not session.exists(session.session_key):
        return False
    current = User.objects.filter(pk=user.pk).first()
    return current is not None and is_underwriter(current)
