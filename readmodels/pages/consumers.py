"""The websockets of open pages, over which fragments of HTML are sent.

Pages that show the same share a live view, which makes the fragments. It reads the read model when
a broadcast says that something may have changed, and every few seconds without one. So a lost
broadcast is a late update and never a wrong page.

A websocket lives no longer than `GET` of its page would be answered with the page.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final
from urllib.parse import parse_qs
from uuid import UUID

from channels.generic.websocket import AsyncWebsocketConsumer
from django.conf import settings
from django.db import Error

from lepret.common.backoff import jittered
from lepret.common.callers import address_of_scope
from readmodels.live import broadcasts, frame_latency
from readmodels.live.heartbeats import heartbeat
from readmodels.live.live_views import LiveViewLost, Read, ViewTimes, Watch, watching
from readmodels.pages.event_history import HistoryUnavailable
from readmodels.pages.page_checks import is_there, refusal_lately, refusal_now
from readmodels.pages.queue_page import QueuePage
from readmodels.pages.status_page import StatusPage

logger = logging.getLogger(__name__)

# Codes for applications. The standard codes are for the protocol itself. `lepret.staff.access` has
# those of pages that their user may not see any more.
TRY_AGAIN: Final = 4013
BAD_MESSAGE: Final = 4400
NOT_THERE: Final = 4404

# The only messages that a page sends: when it knows that it is outdated, and when somebody, or the
# network, is back.
START_OVER: Final = "start over"
LOOK_AGAIN: Final = "look again"


@dataclass(frozen=True)
class PageTimes(ViewTimes):
    """How often a page checks whether it may still be shown, and what may take how long.

    A page that may not be shown any more is closed after at most `shared_check_for`,
    `check_interval` and `check_timeout` together.
    """

    check_interval: float = 3.0
    check_timeout: float = 4.0
    shared_check_for: float = 1.0
    send_timeout: float = 5.0
    start_over_interval: float = 2.0
    heartbeat_interval: float = field(default_factory=lambda: settings.LIVE_HEARTBEAT_SECONDS)


class Ended(Exception):
    """The page may not be shown any more, or not at the moment."""

    def __init__(self, close_code: int) -> None:
        super().__init__(close_code)
        self.close_code: Final = close_code


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
        self._start_over = asyncio.Event()
        self._look_again = asyncio.Event()
        self._checked_at = 0.0

    async def __call__(self, *args: Any) -> None:
        try:
            await super().__call__(*args)
        finally:  # Not in `disconnect`: a server may cancel this without calling it.
            await self._stop()

    async def connect(self) -> None:
        try:
            await self._check()
        except Ended as ended:
            if self.is_told_why_not():
                await self.accept()
            await self.close(code=ended.close_code)
            return
        await self.accept()
        self._staying_open = asyncio.create_task(self._stay_open())

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """Start over, for a page that knows that it is outdated, or look again.

        Anything else ends the page, and so does asking again and again to start over.
        """
        if self._staying_open is None or self._staying_open.done():
            return
        if text_data == LOOK_AGAIN:
            self._look_again.set()
            return
        if text_data == START_OVER and not self._start_over.is_set():
            self._start_over.set()
            return
        await self._stop()
        await self.close(code=BAD_MESSAGE)

    async def check(self) -> None:
        """Check whether the page may be shown now.

        Raises:
            Ended: it may not.
        """
        raise NotImplementedError

    def is_told_why_not(self) -> bool:
        """Whether a page is first let in if it may not be shown.

        Otherwise browsers do not tell it the close code.
        """
        return False

    def group(self) -> str:
        """The channel-layer group that is told of changes to the page."""
        raise NotImplementedError

    def reader(self) -> Read:
        """The function that reads what the page shows."""
        raise NotImplementedError

    async def _stop(self) -> None:
        if self._staying_open is not None:
            self._staying_open.cancel()
            await asyncio.wait([self._staying_open])

    async def _stay_open(self) -> None:
        async with watching(self.group(), self.reader(), times=self._times) as watch:
            try:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(self._send_frames(watch))
                    tasks.create_task(self._start_over_when_asked(watch))
                    tasks.create_task(self._look_again_when_asked(watch))
                    tasks.create_task(self._keep_beating())
                    tasks.create_task(self._keep_checking())
            except* Exception as errors:  # noqa: BLE001 (the browser connects again)
                await self._close_because_of(errors.exceptions[0])

    async def _send_frames(self, watch: Watch) -> None:
        while True:
            frame = await watch.next_frame()
            await self._send_in_time(frame.fragments)
            frame_latency.observe(self.page, frame.recorded_at)

    async def _start_over_when_asked(self, watch: Watch) -> None:
        while True:
            await self._start_over.wait()
            self._start_over.clear()
            watch.start_over()
            # However often a page asks, the read model is not read all the time.
            await asyncio.sleep(self._times.start_over_interval)

    async def _look_again_when_asked(self, watch: Watch) -> None:
        while True:
            await self._look_again.wait()
            self._look_again.clear()
            watch.look_again()
            # The answer to a page that may have nothing to be sent.
            await self._send_in_time(heartbeat())
            await asyncio.sleep(self._times.start_over_interval)

    async def _keep_beating(self) -> None:
        while True:
            await self._send_in_time(heartbeat())
            await asyncio.sleep(self._times.heartbeat_interval)

    async def _send_in_time(self, message: str) -> None:
        async with asyncio.timeout(self._times.send_timeout):
            await self.send(message)

    async def _keep_checking(self) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            # With jitter: pages that were opened together do not check together.
            await asyncio.sleep(self._checked_at + jittered(self._times.check_interval) - clock())
            await self._check()

    async def _check(self) -> None:
        self._checked_at = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(self._times.check_timeout):
                await self.check()
        except (TimeoutError, Error) as error:
            # While it cannot be checked whether a page may be shown, it is not.
            logger.warning("A live page could not be checked: %s", type(error).__qualname__)
            raise Ended(TRY_AGAIN) from None

    async def _close_because_of(self, error: Exception) -> None:
        """Close the page. If it may be shown, the browser connects again and gets it all."""
        if not isinstance(error, Ended | LiveViewLost):
            logger.warning("A live page could not be updated: %s", type(error).__qualname__)
        close_code = error.close_code if isinstance(error, Ended) else TRY_AGAIN
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._times.send_timeout):
                await self.close(code=close_code)


class UnderwritingConsumer(LivePage):
    """The underwriters' queue.

    A page names in `?for=…` the primary key of the user whom it was shown to. It is updated for
    nobody else, and told why it is not updated any more.
    """

    page = "underwriting"

    async def check(self) -> None:
        session_key = self.scope["cookies"].get(settings.SESSION_COOKIE_NAME)
        if self._staying_open is None:
            address = address_of_scope(self.scope)
            refusal = await refusal_now(session_key, self._shown_to, asked_from=address)
        else:
            refusal = await refusal_lately(
                session_key, self._shown_to, seconds=self._times.shared_check_for
            )
        if refusal is not None:
            raise Ended(refusal.close_code)

    def is_told_why_not(self) -> bool:
        return self._shown_to is not None

    def group(self) -> str:
        return broadcasts.UNDERWRITING

    def reader(self) -> Read:
        return QueuePage.read

    @property
    def _shown_to(self) -> str | None:
        query = parse_qs(self.scope["query_string"].decode("latin-1"), keep_blank_values=True)
        return query["for"][0] if "for" in query else None


class LoanStatusConsumer(LivePage):
    """An applicant's status page. Anybody may see it who knows the request's number."""

    page = "loan_status"

    _is_there = False

    async def check(self) -> None:
        if self._is_there:
            return
        try:
            self._is_there = await is_there(self._loan_request_id)
        except HistoryUnavailable:
            # Like the page: it says *Received* until this is known.
            return
        if not self._is_there:
            raise Ended(NOT_THERE)

    def group(self) -> str:
        return broadcasts.loan_request_group(self._loan_request_id)

    def reader(self) -> Read:
        return functools.partial(StatusPage.read, self._loan_request_id)

    @property
    def _loan_request_id(self) -> UUID:
        loan_request_id: UUID = self.scope["url_route"]["kwargs"]["loan_request_id"]
        return loan_request_id
