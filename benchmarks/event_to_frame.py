"""How long it takes from an event's being recorded to the frame that shows it in a browser.

Run it beside a demo, with the demo's data directory:

    uv run manage.py demo
    uv run python benchmarks/event_to_frame.py --count 200

Both times are this machine's: the event store's time stamp on `ManualReviewRequired`, and the clock
when the frame with the request's row has arrived on a websocket of an underwriter's page.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import time
from pathlib import Path
from uuid import uuid4

import environ
import httpx2
from esdbclient import EventStoreDBClient
from rich.console import Console
from rich.table import Table
from websockets.asyncio.client import connect
from websockets.typing import Origin

PROJECT = Path(__file__).resolve().parent.parent
SECONDS_PER_FRAME = 10.0


async def measure(url: str, count: int) -> dict[str, float]:
    """Apply `count` times; answers for each request's id when its frame arrived (Unix time)."""
    arrived: dict[str, float] = {}
    async with httpx2.AsyncClient(base_url=url, trust_env=False, timeout=30) as client:
        cookies = await log_in(client)
        headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in cookies.items())}
        websocket_url = f"{url.replace('http', 'ws', 1)}/ws/underwriting/"
        async with connect(
            websocket_url, additional_headers=headers, origin=Origin(url), proxy=None, max_size=None
        ) as websocket:
            await websocket.recv()  # the list as it stands
            for _ in range(count):
                loan_request_id = str(uuid4())
                asking = asyncio.create_task(apply(client, loan_request_id))
                async with asyncio.timeout(SECONDS_PER_FRAME):
                    while loan_request_id not in await websocket.recv(decode=True):
                        pass
                arrived[loan_request_id] = time.time()
                await asking
    return arrived


async def log_in(client: httpx2.AsyncClient) -> dict[str, str]:
    await client.get("/accounts/login/")
    token = client.cookies["csrftoken"]
    account = {"username": "underwriter", "password": "underwriter", "csrfmiddlewaretoken": token}
    response = await client.post("/accounts/login/", data=account)
    assert response.status_code == httpx2.codes.FOUND, "the demo's account could not log in"
    return dict(client.cookies)


async def apply(client: httpx2.AsyncClient, loan_request_id: str) -> None:
    body = {"id": loan_request_id, "name": "Ann Example", "national_id": "555555aa", "amount": 1}
    response = await client.post("/api/loan-requests", json=body)
    response.raise_for_status()


def latencies_ms(uri: str, arrived: dict[str, float]) -> list[float]:
    """Milliseconds from recorded to arrived, for each request."""
    with EventStoreDBClient(uri) as client:
        return [
            1000 * (at - recorded_at(client, loan_request_id))
            for loan_request_id, at in arrived.items()
        ]


def recorded_at(client: EventStoreDBClient, loan_request_id: str) -> float:
    last = client.get_stream(f"LoanRequest:{loan_request_id}", timeout=10)[-1]
    assert last.recorded_at is not None
    return last.recorded_at.timestamp()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--data-dir", type=Path, default=PROJECT / ".lepret")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--json", action="store_true", help="the figures as the last line")
    options = parser.parse_args()
    demo = options.data_dir / "demo.env"
    if not demo.is_file():
        sys.exit(f"No demo runs in {options.data_dir}; start one, or name its --data-dir.")
    environ.Env.read_env(demo)

    arrived = asyncio.run(measure(options.url, options.count))
    figures = latencies_ms(os.environ["EVENTSTORE_URI"], arrived)
    quantiles = statistics.quantiles(figures, n=100)
    result = {
        "count": len(figures),
        "median_ms": round(statistics.median(figures), 2),
        "p99_ms": round(quantiles[98], 2),
        "longest_ms": round(max(figures), 2),
    }
    table = Table(title="From recorded to frame")
    for name in result:
        table.add_column(name, justify="right")
    table.add_row(*map(str, result.values()))
    Console().print(table)
    if options.json:
        print(json.dumps(result))


if __name__ == "__main__":
    main()
