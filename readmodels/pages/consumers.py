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
from functools import cached_property
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
from readmodels.live.live_views import Greet, LiveViewLost, Read, ViewTimes, Watch, watching
from readmodels.live.presence import MODES
from readmodels.pages.colleagues import (
    Attendance,
    AttendanceTimes,
    PageWithColleagues,
    with_colleagues,
)
from readmodels.pages.event_history import HistoryUnavailable
from readmodels.pages.page_checks import is_there, refusal_lately, refusal_now, username_of
from readmodels.pages.queue_page import QueueReader
from readmodels.pages.request_page import RequestReader
from readmodels.pages.status_page import StatusPage

logger = logging.getLogger(__name__)

# Codes for applications. The standard codes are for the protocol itself. `lepret.staff.access` has
# those of pages that their user may not see any more.
TRY_AGAIN: Final = 4013
BAD_MESSAGE: Final = 4400
NOT_THERE: Final = 4404

# The only messages that a page sends: when it knows that it is outdated, and when somebody, or the
# network, is back. The page of one request also says what is done there: `MODES`.
START_OVER: Final = "start over"
LOOK_AGAIN: Final = "look again"


@dataclass(frozen=True)
class PageTimes(ViewTimes, AttendanceTimes):
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

    def greeter(self) -> Greet | None:
        """The function that recognises what the page was loaded with."""
        return None

    async def _stop(self) -> None:
        if self._staying_open is not None:
            self._staying_open.cancel()
            await asyncio.wait([self._staying_open])

    async def _stay_open(self) -> None:
        group, read, greet = self.group(), self.reader(), self.greeter()
        async with watching(group, read, times=self._times, greet=greet) as watch:
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
            for each in (frame.fragments, *frame.rest):
                await self._send_in_time(each)
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


class UnderwritersPage(LivePage):
    """A page that only underwriters may see.

    It names in `?for=…` the primary key of the user whom it was shown to. It is updated for nobody
    else, and told why it is not updated any more.
    """

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

    @property
    def _shown_to(self) -> str | None:
        return self._asked("for")

    def _asked(self, name: str) -> str | None:
        """What the page says of itself in its websocket's address."""
        query = parse_qs(self.scope["query_string"].decode("latin-1"), keep_blank_values=True)
        return query[name][0] if name in query else None


class PageOfOneRequest(LivePage):
    """A page that shows one loan request, and that nobody sees if there is no such request."""

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

    @property
    def _loan_request_id(self) -> UUID:
        loan_request_id: UUID = self.scope["url_route"]["kwargs"]["loan_request_id"]
        return loan_request_id


class UnderwritingConsumer(UnderwritersPage):
    """The underwriters' queue."""

    page = "underwriting"

    def group(self) -> str:
        return broadcasts.UNDERWRITING

    def reader(self) -> Read:
        return with_colleagues(QueueReader())

    def greeter(self) -> Greet:
        return functools.partial(PageWithColleagues.greeting, loaded_with=self._asked("has"))


class RequestConsumer(UnderwritersPage, PageOfOneRequest):
    """An underwriter's page of one request."""

    page = "request"

    _username: str | None = None

    async def check(self) -> None:
        # First whether they may know of any request.
        await UnderwritersPage.check(self)
        await PageOfOneRequest.check(self)
        if self._username is None and self._shown_to is not None:
            self._username = await username_of(self._shown_to)

    def group(self) -> str:
        return broadcasts.underwriting_group(self._loan_request_id)

    def reader(self) -> Read:
        return with_colleagues(RequestReader(self._loan_request_id), of=self._loan_request_id)

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """Take what is done on the page, too."""
        if text_data not in MODES:
            await super().receive(text_data, bytes_data)
        elif self._attendance is not None:
            self._attendance.tell(text_data)

    async def _stay_open(self) -> None:
        async with self._attendance or contextlib.nullcontext():
            await super()._stay_open()

    @cached_property
    def _attendance(self) -> Attendance | None:
        if self._username is None:
            return None
        return Attendance(self._loan_request_id, self._username, self._times)


class LoanStatusConsumer(PageOfOneRequest):
    """An applicant's status page. Anybody may see it who knows the request's number."""

    page = "loan_status"

    def group(self) -> str:
        return broadcasts.loan_request_group(self._loan_request_id)

    def reader(self) -> Read:
        return functools.partial(StatusPage.read, self._loan_request_id)
