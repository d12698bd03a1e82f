"""Open pages for `live.py`: websockets whose frames are applied as in a browser."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import re
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import httpx2
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Origin

from readmodels.live.heartbeats import is_heartbeat

WHOLE_LIST: Final = '<div id="queue">'
ROW: Final = re.compile(r'<tr id="request-([0-9a-f-]{36})"( hx-swap-oob="delete")?>')
OPENING_AT_ONCE: Final = 20


@dataclass(frozen=True)
class Seen:
    """A row that was added to a page or removed from it, and when (`time.perf_counter`)."""

    row: str
    added: bool
    at: float


@dataclass(eq=False)
class Page:
    """An open page: the rows that it shows, and when each was added or removed."""

    websocket: ClientConnection
    rows: dict[str, None] = field(default_factory=dict)
    seen: list[Seen] = field(default_factory=list)
    last_frame_at: float = 0.0
    last_frame_bytes: int = 0

    async def read(self) -> None:
        """Apply the frames until the websocket is closed."""
        with contextlib.suppress(ConnectionClosed):
            async for frame in self.websocket:
                if not is_heartbeat(str(frame)):
                    self._apply(str(frame), time.perf_counter())

    def _apply(self, frame: str, at: float) -> None:
        self.last_frame_at, self.last_frame_bytes = at, len(frame)
        before = self.rows
        changes = _changes(frame)
        if changes.is_whole_list:
            self.rows = dict.fromkeys(changes.added)
        else:
            self.rows = {row: None for row in before if row not in changes.removed}
            self.rows.update(dict.fromkeys(changes.added))
        self.seen += [Seen(row, True, at) for row in self.rows.keys() - before.keys()]
        self.seen += [Seen(row, False, at) for row in before.keys() - self.rows.keys()]


@dataclass(frozen=True)
class _Changes:
    is_whole_list: bool
    added: Sequence[str]
    removed: frozenset[str]


@functools.lru_cache(maxsize=64)  # All pages get the same frames.
def _changes(frame: str) -> _Changes:
    rows = ROW.findall(frame)
    return _Changes(
        is_whole_list=WHOLE_LIST in frame,
        added=[row for row, is_removal in rows if not is_removal],
        removed=frozenset(row for row, is_removal in rows if is_removal),
    )


async def log_in(url: str) -> str:
    """Log in as the demo's underwriter; returns the session's cookie."""
    async with httpx2.AsyncClient(base_url=url, trust_env=False, timeout=30) as client:
        await client.get("/accounts/login/")
        account = {"username": "underwriter", "password": "underwriter"}
        token = {"csrfmiddlewaretoken": client.cookies["csrftoken"]}
        response = await client.post("/accounts/login/", data=account | token)
        assert response.status_code == httpx2.codes.FOUND, "the demo's account could not log in"
        return f"sessionid={client.cookies['sessionid']}"


@contextlib.asynccontextmanager
async def open_pages(url: str, path: str, cookie: str, count: int) -> AsyncIterator[list[Page]]:
    """Open `count` pages, which read frames until the block ends."""
    gate = asyncio.Semaphore(OPENING_AT_ONCE)

    async def opened() -> Page:
        async with gate:
            websocket = await connect(
                f"{url.replace('http', 'ws', 1)}{path}",
                additional_headers={"Cookie": cookie},
                origin=Origin(url),
                proxy=None,
                compression=None,
                max_size=None,
                open_timeout=30,
            )
            return Page(websocket)

    pages = await asyncio.gather(*(opened() for _ in range(count)))
    async with asyncio.TaskGroup() as reading:
        for page in pages:
            reading.create_task(page.read())
        try:
            yield pages
        finally:
            await asyncio.gather(*(page.websocket.close() for page in pages))
