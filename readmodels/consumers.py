"""Pages that update themselves: a websocket each, on which fragments of HTML are sent.

A broadcast only says that something may have changed. The consumer then reads the read model and
sends what the page must change to show the same. It looks by itself, too, every few seconds, so
that a lost broadcast is a late update and never a wrong page.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from typing import Any, Final
from uuid import UUID

from channels.auth import UserLazyObject
from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncWebsocketConsumer
from django.contrib.auth.models import User
from django.contrib.sessions.backends.base import SessionBase
from django.template.loader import render_to_string

from lepret.roles import is_underwriter
from readmodels import broadcasts
from readmodels.models import LoanStatus
from readmodels.queue_page import QueuePage

logger = logging.getLogger(__name__)

LOOK_AGAIN_SECONDS: Final = 10.0
FORBIDDEN: Final = 4403
# Of the codes that a server may send: the standard ones are for the protocol's own use.
TRY_AGAIN: Final = 4013


class LivePage(AsyncWebsocketConsumer):
    """Keeps one open page level with its read model."""

    async def connect(self) -> None:
        if not await self.is_allowed():
            await self.close(code=FORBIDDEN)
            return
        # Subscribe first, then list: what happens in between is at worst listed twice.
        await self.channel_layer.group_add(self.group(), self.channel_name)
        await self.accept()
        self._changed = asyncio.Event()
        self._changed.set()
        self._updating = asyncio.create_task(self._keep_level())

    async def disconnect(self, code: int) -> None:
        updating: asyncio.Task[None] | None = getattr(self, "_updating", None)
        if updating is None:
            return
        updating.cancel()
        await asyncio.wait([updating])
        await self.channel_layer.group_discard(self.group(), self.channel_name)

    async def changed(self, message: dict[str, Any]) -> None:
        """A broadcast has arrived. Several that arrive during one update make one more."""
        self._changed.set()

    async def is_allowed(self) -> bool:
        """Whether whoever opened the page may see it, now."""
        return True

    def group(self) -> str:
        """The channel-layer group in which changes to this page are announced."""
        raise NotImplementedError

    def fragments(self) -> str:
        """What makes the page level with its read model; empty where it is. Runs in a thread."""
        raise NotImplementedError

    async def _keep_level(self) -> None:
        asked_at = time.monotonic()
        try:
            while True:
                await self._hear()
                # The right to see the page may end while it is open, however busy it is.
                if time.monotonic() - asked_at >= LOOK_AGAIN_SECONDS:
                    if not await self.is_allowed():
                        return await self.close(code=FORBIDDEN)
                    asked_at = time.monotonic()
                fragments = await database_sync_to_async(self.fragments)()
                if fragments:
                    await self.send(fragments)
        except Exception as error:  # noqa: BLE001 (the browser connects again, and lists anew)
            logger.warning("A live page could not be updated: %s", type(error).__qualname__)
            await self.close(code=TRY_AGAIN)

    async def _hear(self) -> None:
        """Wait for a broadcast, and no longer than a few seconds."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._changed.wait(), LOOK_AGAIN_SECONDS)
        self._changed.clear()


class UnderwritingConsumer(LivePage):
    """The underwriters' queue."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._shown: QueuePage | None = None

    async def is_allowed(self) -> bool:
        return await database_sync_to_async(_is_underwriters_page)(
            self.scope["user"], self.scope["session"]
        )

    def group(self) -> str:
        return broadcasts.UNDERWRITING

    def fragments(self) -> str:
        before, self._shown = self._shown, QueuePage.read()
        return self._shown.changes_since(before)


class LoanStatusConsumer(LivePage):
    """An applicant's status page."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._shown = ""

    def group(self) -> str:
        return broadcasts.loan_request_group(self._loan_request_id)

    def fragments(self) -> str:
        before = self._shown
        loan = LoanStatus.objects.of(self._loan_request_id)
        self._shown = render_to_string("readmodels/_loan_status.html", {"loan": loan})
        return self._shown if self._shown != before else ""

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
