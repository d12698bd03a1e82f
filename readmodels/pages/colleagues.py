"""Shows underwriters which colleagues have a request open.

Nobody needs to know that in a year, so it is neither an event nor in a read model.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, Final, Self
from uuid import UUID

from django.template.loader import render_to_string

from readmodels.live import broadcasts
from readmodels.live.live_views import Content, Read
from readmodels.live.presence import VIEWING, OpenPage, People, presence
from readmodels.pages.queue_page import QueuePage

# One thread, so that what is said of a page takes effect in the order in which it is said.
_teller = ThreadPoolExecutor(max_workers=1, thread_name_prefix="presence")


@dataclass(frozen=True)
class AttendanceTimes:
    """How often an open page says that it is open, and when it goes stale, in seconds.

    A page whose web server dies is gone from all others after at most `stale_after` and the
    `read_interval` of their live views together.
    """

    presence_interval: float = 10.0
    presence_stale_after: float = 20.0
    presence_pause: float = 0.5


class Attendance:
    """Says that a user has a request open, inside its block. An async context manager."""

    def __init__(self, loan_request_id: UUID, username: str, times: AttendanceTimes) -> None:
        self._page: Final = OpenPage(loan_request_id, username)
        self._times: Final = times
        self._mode = VIEWING
        self._told = asyncio.Event()
        self._groups = (broadcasts.UNDERWRITING, broadcasts.underwriting_group(loan_request_id))

    def tell(self, mode: str) -> None:
        """Say what is done there: one of `readmodels.live.presence.MODES`."""
        self._mode = mode
        self._told.set()

    async def __aenter__(self) -> Self:
        self._staying = asyncio.create_task(self._stay())
        return self

    async def __aexit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self._staying.cancel()
        await asyncio.wait([self._staying])
        await self._say(partial(presence().leave, self._page))

    async def _stay(self) -> None:
        seconds = self._times.presence_stale_after
        while True:
            self._told.clear()
            await self._say(partial(presence().stay, self._page, self._mode, seconds=seconds))
            # However often a page changes its mind, others are not told all the time.
            await asyncio.sleep(self._times.presence_pause)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._times.presence_interval):
                    await self._told.wait()

    async def _say(self, say: Callable[[], bool]) -> None:
        if await asyncio.get_running_loop().run_in_executor(_teller, say):
            await broadcasts.tell(self._groups, self._page.loan_request_id)


@dataclass(frozen=True)
class PageWithColleagues:
    """What a page shows, and who has which request open."""

    page: Content
    present: dict[UUID, People]

    def changes_since(self, before: PageWithColleagues | None) -> str:
        """The fragments of the page and, if that has changed, one with who is present.

        It has only the requests for which that has changed, unless `before` is `None`.
        """
        if before is None:
            return self.page.changes_since(None) + _fragment(self.present, is_all=True)
        changes = {
            each: self.present.get(each, People())
            for each in self.present.keys() | before.present.keys()
            if self.present.get(each) != before.present.get(each)
        }
        fragments = self.page.changes_since(before.page)
        return fragments + _fragment(changes, is_all=False) if changes else fragments

    def greeting(self, *, loaded_with: str | None) -> list[str] | None:
        """What a page lacks that was loaded with this content; `None` if it was not."""
        if not isinstance(self.page, QueuePage) or self.page.digest != loaded_with:
            return None
        return [self.page.summary + _fragment(self.present, is_all=True), *self.page.rest]


def with_colleagues(read: Read, *, of: UUID | None = None) -> Read:
    """Read a page, and who is present: everywhere, or on the page of one request."""

    def read_both() -> PageWithColleagues:
        present = presence().everybody()
        if of is not None:
            present = {of: present[of]} if of in present else {}
        return PageWithColleagues(read(), present)

    return read_both


def _fragment(present: dict[UUID, People], *, is_all: bool) -> str:
    context: dict[str, Any] = {"present": present.items(), "is_all": is_all}
    return render_to_string("readmodels/_presence.html", context)
