"""The time from an append to the websocket frame that shows the event on a page.

    uv run --group test python benchmarks/live.py --json

Starts a demo of its own (event store, Valkey, projector) with a web server beside it, appends to
the event store, and opens pages of the underwriters' queue. All pages are in one client process.
Latencies are measured from the event store's answer to the frame's arrival:

- `one_page`: one open page; each event adds or removes a row. Median and 99th percentile.
- `pages`: many open pages, ten events a second; over all pages and events. For comparison, `bare`:
  frames of the same size through as many websockets that only forward what is sent to their group,
  measured from the channel layer's answer; half of them before the pages, half after.
- `burst`: many events within a second; seconds from the first append until the last is answered,
  and until every page shows the right list.
- `desk`: as many pages with 1,000 rows, and twenty claims or decisions a second; over all pages and
  events. `claim_bytes` are those of a frame that shows one claim. For comparison, the medians and
  percentiles of `pages`, from the same run.
- `long_page`: the page with these rows, fetched without other work: its size, how long the answer
  takes and how much processor time it takes the server (medians).
- `browser`: that page in Chromium with a processor that is four times slower: from the navigation,
  and from the first byte of the answer, until its scripts have run and it is painted; and from the
  navigation until it is live (medians). Left out where Chromium is not installed.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid4

from channels_redis.pubsub import RedisPubSubChannelLayer  # type: ignore[import-untyped]
from esdbclient import EventStoreDBClient, NewEvent, StreamState
from rich.console import Console
from rich.table import Table

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))

from benchmarks.live_long_page import fetching, opening_in_browser
from benchmarks.live_pages import ADDED, REMOVED, Page, log_in, open_pages
from benchmarks.machine import ran_on
from benchmarks.web_servers import named_event_store, running_web_server
from loans.adapters import codec
from loans.domain.events import (
    CreditChecked,
    LoanEvent,
    LoanRequested,
    ManuallyApproved,
    ManualReviewRequired,
    RequestClaimed,
)
from tests.support.demo import running_demo
from tests.support.web_servers import Daphne

QUEUE: Final = "/ws/underwriting/"
BARE: Final = "/ws/bare/"
SECONDS_TO_SHOW: Final = 60.0
# Waited after many websockets were opened, so that their opening is not measured.
SECONDS_TO_SETTLE: Final = 3.0
EVENTS_PER_SECOND: Final = 10
BURST_SECONDS: Final = 1.0
APPENDING_AT_ONCE: Final = 8
# Rows in the queue at first, so that the pages are not empty.
WAITING: Final = 20
# As many as a page shows.
LONG: Final = 1_000
DESK_EVENTS_PER_SECOND: Final = 20

GOALS: Final = {
    "one_page.median_ms": 8.0,
    "one_page.p99_ms": 20.0,
    "pages.median_ratio": 1.3,
    "pages.p99_ratio": 1.3,
    "burst.seconds": 3.0,
    "desk.median_ratio": 1.3,
    "desk.p99_ratio": 1.3,
    "desk.claim_bytes": 5_000,
    "long_page.cpu_ms": 150.0,
    "browser.usable_ms": 1_000.0,
}

# All pages are at one address.
LIMITS: Final = {"WEB_SOCKETS_PER_ADDRESS": "1000", "WEB_CONNECTIONS_PER_ADDRESS": "1000"}

# When the event store answered, by row and what became of it.
Answered = dict[tuple[str, str], float]


def main() -> None:
    options = _options()
    machine = ran_on(is_embedded=not named_event_store())
    with (
        tempfile.TemporaryDirectory(prefix="lepret-live-") as directory,
        running_demo(Path(directory) / "data", environment=named_event_store()) as demo,
        running_web_server(demo, "benchmarks.live_asgi:application", **LIMITS) as web,
        EventStoreDBClient(demo.published["EVENTSTORE_URI"]) as client,
    ):
        figures = asyncio.run(_measure(web, client, demo.published["REDIS_URL"], options))
    print(machine)
    Console().print(_table(figures))
    if options.json:
        print(json.dumps({"ran_on": machine, **figures}))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--events", type=int, default=200, help="for the one page")
    parser.add_argument("--pages", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=12.0, help="of events to all pages")
    parser.add_argument("--burst", type=int, default=500, help="events within a second")
    parser.add_argument("--json", action="store_true", help="the figures as the last line")
    return parser.parse_args()


# What is measured ---------------------------------------------------------------------------


async def _measure(
    web: Daphne, client: EventStoreDBClient, redis_url: str, options: argparse.Namespace
) -> dict[str, Any]:
    random.seed(1)
    url = web.base_url
    cookie = await log_in(url)
    async with _desk(client) as desk:
        await desk.fill(WAITING)
        async with open_pages(url, QUEUE, cookie, 1) as pages:
            await _all_show(pages, desk)
            one_page = await _one_page(pages[0], desk, options.events)
        async with (
            open_pages(url, QUEUE, cookie, options.pages) as pages,
            open_pages(url, BARE, cookie, options.pages) as bare_pages,
        ):
            await _all_show(pages, desk)
            bare = _Bare(bare_pages, redis_url)
            many = await _pages_and_bare(pages, desk, bare, options.seconds)
            burst = await _burst(pages, desk, options.burst)
        await desk.fill(LONG - len(desk.waiting))
        async with open_pages(url, QUEUE, cookie, options.pages) as pages:
            busy_desk = await _busy_desk(pages, desk, options.seconds, many)
        await desk.fill(LONG - len(desk.waiting))
        long_page = await fetching(web, cookie)
        browser = await opening_in_browser(url, cookie)
    figures = {
        "one_page": one_page,
        "pages": many,
        "burst": burst,
        "desk": busy_desk,
        "long_page": long_page,
        "browser": browser,
    }
    return figures | {"missed": sorted(_missed(figures))}


async def _one_page(page: Page, desk: _Desk, events: int) -> dict[str, float]:
    await desk.change_queue()  # Not measured: caches are empty.
    await _all_show([page], desk)
    page.seen.clear()
    answered: Answered = {}
    for _ in range(events):
        answered |= await desk.change_queue()
        await _all_show([page], desk)
        await asyncio.sleep(random.uniform(0.02, 0.06))  # noqa: S311
    return {"events": events, **_quantiles(_latencies([page], answered))}


async def _pages_and_bare(
    pages: Sequence[Page], desk: _Desk, bare: _Bare, seconds: float
) -> dict[str, float]:
    await desk.change_queue()
    await _all_show(pages, desk)
    await asyncio.sleep(SECONDS_TO_SETTLE)
    frame_bytes = pages[0].last_frame_bytes
    before = await bare.latencies(seconds / 2, frame_bytes)
    latencies = await _many_pages(pages, desk, seconds)
    bare_latencies = before + await bare.latencies(seconds / 2, frame_bytes)
    ours, theirs = _quantiles(latencies), _quantiles(bare_latencies)
    return {
        "pages": len(pages),
        "frames": len(latencies),
        "frame_bytes": frame_bytes,
        **ours,
        **{f"bare_{name}": value for name, value in theirs.items()},
        "median_ratio": round(ours["median_ms"] / theirs["median_ms"], 2),
        "p99_ratio": round(ours["p99_ms"] / theirs["p99_ms"], 2),
    }


async def _many_pages(pages: Sequence[Page], desk: _Desk, seconds: float) -> list[float]:
    for page in pages:
        page.seen.clear()
    answered: Answered = {}
    async for _ in _ticks(seconds):
        answered |= await desk.change_queue()
    await _all_show(pages, desk)
    return _latencies(pages, answered)


async def _busy_desk(
    pages: Sequence[Page], desk: _Desk, seconds: float, few_rows: dict[str, float]
) -> dict[str, float]:
    await _all_show(pages, desk)
    await asyncio.sleep(SECONDS_TO_SETTLE)
    answered = await desk.claim()
    await _until(lambda: all(page.has_seen(answered) for page in pages))
    claim_bytes = pages[0].last_frame_bytes
    for page in pages:
        page.seen.clear()
    answered = {}
    async for _ in _ticks(seconds, DESK_EVENTS_PER_SECOND):
        answered |= await desk.claim_or_decide()
    await _until(lambda: all(page.has_seen(answered) for page in pages))
    await _all_show(pages, desk)
    latencies = _latencies(pages, answered)
    ours = _quantiles(latencies)
    return {
        "pages": len(pages),
        "rows": len(desk.waiting),
        "frames": len(latencies),
        "claim_bytes": claim_bytes,
        **ours,
        "median_ratio": round(ours["median_ms"] / few_rows["median_ms"], 2),
        "p99_ratio": round(ours["p99_ms"] / few_rows["p99_ms"], 2),
    }


async def _burst(pages: Sequence[Page], desk: _Desk, events: int) -> dict[str, float]:
    loans = await desk.request(events)
    began = time.perf_counter()

    async def review(number: int, loan: UUID) -> None:
        await asyncio.sleep(began + number * BURST_SECONDS / events - time.perf_counter())
        await desk.review(loan)

    await asyncio.gather(*(review(number, loan) for number, loan in enumerate(loans)))
    appended = time.perf_counter()
    await _all_show(pages, desk)
    shown = max(page.last_frame_at for page in pages)
    return {
        "events": events,
        "append_seconds": round(appended - began, 2),
        "seconds": round(shown - began, 2),
    }


@dataclass
class _Bare:
    """Websockets that only forward what is sent to their group."""

    pages: Sequence[Page]
    redis_url: str

    async def latencies(self, seconds: float, frame_bytes: int) -> list[float]:
        """Send ten frames of this size a second; returns their latencies in milliseconds."""
        layer = RedisPubSubChannelLayer(hosts=[self.redis_url])
        for page in self.pages:
            page.seen.clear()
        answered: Answered = {}
        async for _ in _ticks(seconds):
            row = str(uuid4())
            text = f'<tr id="request-{row}">'.ljust(frame_bytes)
            await layer.group_send("bare", {"type": "forward", "text": text})
            answered[row, ADDED] = time.perf_counter()
        await _until(lambda: self._have_all(len(answered)))
        await layer.flush()
        return _latencies(self.pages, answered)

    def _have_all(self, frames: int) -> bool:
        return all(len(page.seen) >= frames for page in self.pages)


async def _ticks(seconds: float, rate: int = EVENTS_PER_SECOND) -> AsyncIterator[None]:
    """So many times a second, at irregular intervals."""
    began = time.perf_counter()
    for number in range(round(seconds * rate)):
        at = began + (number + random.uniform(0, 0.5)) / rate  # noqa: S311
        await asyncio.sleep(max(0.0, at - time.perf_counter()))
        yield


async def _all_show(pages: Sequence[Page], desk: _Desk) -> None:
    """Wait until every page shows the right list."""

    def are_right() -> bool:
        if not all(page.is_open for page in pages):
            sys.exit("The server has closed pages, which would have to connect again.")
        return all(page.in_order == desk.waiting for page in pages)

    await _until(are_right)


async def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS_TO_SHOW
    while not condition():
        if time.monotonic() > deadline:
            sys.exit("The pages do not show what they should.")
        await asyncio.sleep(0.005)


# What happens -------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def _desk(client: EventStoreDBClient) -> AsyncIterator[_Desk]:
    with ThreadPoolExecutor(APPENDING_AT_ONCE) as threads:
        yield _Desk(client, threads)


class _Desk:
    """Appends events one by one, as applicants and underwriters would cause them."""

    def __init__(self, client: EventStoreDBClient, threads: ThreadPoolExecutor) -> None:
        self.waiting: list[str] = []  # what the pages should show
        self._client = client
        self._threads = threads
        self._adds_next = True
        self._claims_next = True
        self._revisions: dict[str, int] = {}

    async def fill(self, rows: int) -> None:
        await asyncio.gather(*(self.review(loan) for loan in await self.request(rows)))

    async def request(self, loans: int) -> list[UUID]:
        """New requests that are not in the queue yet."""
        ids = [uuid4() for _ in range(loans)]
        await asyncio.gather(
            *(self._append(StreamState.NO_STREAM, _requested(each), _scored(each)) for each in ids)
        )
        return ids

    async def change_queue(self) -> Answered:
        """Add a row to the queue or remove the oldest one, in turn."""
        adds, self._adds_next = self._adds_next, not self._adds_next
        if not adds:
            return await self._approve(UUID(self.waiting[0]))
        (loan,) = await self.request(1)
        return await self.review(loan)

    async def review(self, loan: UUID) -> Answered:
        """Add the request's row to the queue."""
        row = str(loan)
        self.waiting.append(row)
        self._revisions[row] = 2
        return {(row, ADDED): await self._append(1, _under_review(loan))}

    async def claim_or_decide(self) -> Answered:
        """Have somebody claim a row, or remove the oldest one, in turn."""
        claims, self._claims_next = self._claims_next, not self._claims_next
        return await (self.claim() if claims else self._approve(UUID(self.waiting[0])))

    async def claim(self) -> Answered:
        """Have a row claimed by somebody who has not claimed it before."""
        # Not the oldest ones, which are decided meanwhile.
        row = random.choice(self.waiting[len(self.waiting) // 2 :])  # noqa: S311
        self._revisions[row] += 1
        by = f"underwriter-{self._revisions[row]}"
        claimed = _claimed(UUID(row), by)
        return {(row, by): await self._append(self._revisions[row] - 1, claimed)}

    async def _approve(self, loan: UUID) -> Answered:
        row = str(loan)
        self.waiting.remove(row)
        return {(row, REMOVED): await self._append(self._revisions[row], _approved(loan))}

    async def _append(self, version: int | StreamState, *events: LoanEvent) -> float:
        """Append to a request's stream; returns when the event store has answered."""
        return await asyncio.get_running_loop().run_in_executor(
            self._threads, self._append_now, version, events
        )

    def _append_now(self, version: int | StreamState, events: Sequence[LoanEvent]) -> float:
        command_id = uuid4()
        self._client.append_to_stream(
            codec.stream_name(events[0].id),
            current_version=version,
            events=[
                _new_event(codec.encode(event, command_id=command_id, user="benchmark"))
                for event in events
            ],
            timeout=10,
        )
        return time.perf_counter()


def _new_event(event: codec.Encoded) -> NewEvent:
    return NewEvent(id=event.id, type=event.type, data=event.data, metadata=event.metadata)


def _requested(loan: UUID) -> LoanRequested:
    return LoanRequested(id=loan, occurred_at=datetime.now(UTC), **_APPLICATION)


def _scored(loan: UUID) -> CreditChecked:
    # Appended with the request: otherwise the demo's worker would ask for the score.
    return CreditChecked(id=loan, occurred_at=datetime.now(UTC), credit_score=5)


def _under_review(loan: UUID) -> ManualReviewRequired:
    now = datetime.now(UTC)
    return ManualReviewRequired(
        id=loan, occurred_at=now, requested_at=now, credit_score=5, **_APPLICATION
    )


def _approved(loan: UUID) -> ManuallyApproved:
    return ManuallyApproved(id=loan, occurred_at=datetime.now(UTC), decided_by="underwriter")


def _claimed(loan: UUID, by: str) -> RequestClaimed:
    now = datetime.now(UTC)
    return RequestClaimed(id=loan, occurred_at=now, by=by, until=now + timedelta(minutes=10))


_APPLICATION: Final[dict[str, Any]] = {
    "name": "Ann Example",
    "national_id": "555555aa",
    "amount": 5000,
}


# Figures ------------------------------------------------------------------------------------


def _latencies(pages: Sequence[Page], answered: Answered) -> list[float]:
    """Milliseconds from the event store's answer to the frame, for each page and event."""
    return [
        1000 * (seen.at - answered[seen.row, seen.became])
        for page in pages
        for seen in page.seen
        if (seen.row, seen.became) in answered
    ]


def _quantiles(latencies: Sequence[float]) -> dict[str, float]:
    percentiles = statistics.quantiles(latencies, n=100)
    return {
        "median_ms": round(statistics.median(latencies), 2),
        "p99_ms": round(percentiles[98], 2),
    }


def _missed(figures: dict[str, dict[str, float]]) -> Iterator[str]:
    for goal, most in GOALS.items():
        part, name = goal.split(".")
        if figures[part].get(name, 0) > most:
            yield goal


def _table(figures: dict[str, Any]) -> Table:
    table = Table("", "figure", "goal", title="From the answer to the frame")
    for part in (each for each in figures if each != "missed"):
        for name, value in figures[part].items():
            goal = GOALS.get(f"{part}.{name}")
            table.add_row(f"{part} {name}", f"{value:g}", "" if goal is None else f"{goal:g}")
    return table


if __name__ == "__main__":
    main()
