"""Open pages for `live.py`: websockets whose frames are applied as in a browser."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import re
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

import httpx2
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from readmodels.live.heartbeats import is_heartbeat

WHOLE_LIST: Final = '<div id="queue"'
ROW: Final = re.compile(r'<tr id="request-([0-9a-f-]{36})"([^>]*)>')
COMPLETE: Final = re.compile(r'data-complete="([^"]*)"')
CLAIMED_BY: Final = re.compile(r'data-claimed-by="([^"]*)"')
REMOVAL: Final = 'hx-swap-oob="delete"'
OPENING_AT_ONCE: Final = 20


@dataclass(frozen=True)
class Seen:
    """What became of a row on a page, and when (`time.perf_counter`).

    It is `ADDED`, `REMOVED`, or who claimed it.
    """

    row: str
    became: str
    at: float


ADDED: Final = "added"
REMOVED: Final = "removed"


class Row(NamedTuple):
    """What a row says: when its credit report was in (ISO 8601), and who claimed it."""

    complete: str
    claimed_by: str


class Page(WSListener):
    """An open page: the rows that it shows with who claimed them, and when that changed."""

    def __init__(self) -> None:
        self.is_open = True
        self.rows: dict[str, Row] = {}
        self.seen: list[Seen] = []
        self.last_frame_at = 0.0
        self.last_frame_bytes = 0

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """Note that there is nobody to send it frames any more."""
        self.is_open = False

    @property
    def in_order(self) -> list[str]:
        """The ids of the rows as the page shows them: `queue.js` puts each where it belongs."""
        return sorted(self.rows, key=lambda row: self.rows[row].complete)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Apply a frame."""
        if frame.msg_type is WSMsgType.TEXT:
            at = time.perf_counter()
            text = frame.get_payload_as_utf8_text()
            if not is_heartbeat(text):
                self.last_frame_at, self.last_frame_bytes = at, frame.payload_size
                self._apply(text, at)

    def has_seen(self, changes: Iterable[tuple[str, str]]) -> bool:
        """Whether each of these has become of these rows since `seen` was cleared."""
        return set(changes) <= {(seen.row, seen.became) for seen in self.seen}

    def _apply(self, frame: str, at: float) -> None:
        changes = _changes(frame)
        gone = self.rows.keys() - changes.rows.keys() if changes.is_whole_list else changes.removed
        before = {row: self.rows.pop(row) for row in gone if row in self.rows}
        self.seen += [Seen(row, REMOVED, at) for row in before if row not in changes.rows]
        for row, now in changes.rows.items():
            was = before.get(row, self.rows.get(row))
            if was is None:
                self.seen.append(Seen(row, ADDED, at))
            elif now.claimed_by != was.claimed_by:
                self.seen.append(Seen(row, now.claimed_by, at))
        if changes.is_whole_list:
            self.rows = dict(changes.rows)
        else:
            self.rows.update(changes.rows)


@dataclass(frozen=True)
class _Changes:
    is_whole_list: bool
    rows: Mapping[str, Row]
    removed: frozenset[str]


@functools.lru_cache(maxsize=64)  # All pages get the same frames.
def _changes(frame: str) -> _Changes:
    rows = ROW.findall(frame)
    return _Changes(
        is_whole_list=WHOLE_LIST in frame,
        rows={row: _row(rest) for row, rest in rows if REMOVAL not in rest},
        removed=frozenset(row for row, rest in rows if REMOVAL in rest),
    )


def _row(attributes: str) -> Row:
    complete, claimed_by = COMPLETE.search(attributes), CLAIMED_BY.search(attributes)
    return Row(complete[1] if complete else "", claimed_by[1] if claimed_by else "")


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

    async def opened() -> tuple[WSTransport, Page]:
        async with gate:
            transport, page = await ws_connect(
                Page,
                f"{url.replace('http', 'ws', 1)}{path}",
                extra_headers={"Cookie": cookie, "Origin": url},
                websocket_handshake_timeout=30,
            )
            assert isinstance(page, Page)
            return transport, page

    opened_pages = await asyncio.gather(*(opened() for _ in range(count)))
    try:
        yield [page for _, page in opened_pages]
    finally:
        for transport, _ in opened_pages:
            transport.disconnect()
        await asyncio.gather(*(transport.wait_disconnected() for transport, _ in opened_pages))
