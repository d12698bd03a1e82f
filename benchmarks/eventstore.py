"""How fast an event store is, with the client in a process of its own.

Reproduce with ``python benchmarks/eventstore.py`` for the embedded event store, or name a
running EventStoreDB with ``--uri``. ``--json`` prints the figures as one JSON object last.

The client is given one core, and the embedded event store the others: grpcio's client hands
every message from thread to thread, and where these sit on two cores that are otherwise idle,
waking each other costs several times what the message does. ``--anywhere`` leaves both to the
operating system, for comparison.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from esdbclient import EventStoreDBClient, NewEvent, RecordedEvent, StreamState
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.support.event_store import running_event_store

FLOORS = {
    "appends_per_second_8_threads": 1300.0,
    "appends_per_second_1_thread": 600.0,
    "events_per_second_read_all": 14000.0,
}
CEILINGS = {"live_p99_ms": 0.5}

DATA = json.dumps(
    {"name": "Jeanne Martin", "national_id": "123456aa", "amount": 12500, "credit_score": 6}
).encode()
METADATA = json.dumps({"$correlationId": str(uuid4()), "$causationId": str(uuid4())}).encode()
TYPES = ("LoanRequested", "CreditChecked")


def main() -> None:
    """Measure, and print a table."""
    arguments = _arguments()
    with _event_store(arguments.uri, pinned=not arguments.anywhere) as uri:
        figures = _measure(uri, arguments.appends, arguments.live)
    Console().print(_table(figures))
    if arguments.json:
        sys.stdout.write(json.dumps(figures) + "\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--uri", help="an event store that runs; default: the embedded one")
    parser.add_argument("--appends", type=int, default=8000, help="per measurement")
    parser.add_argument("--live", type=int, default=1500, help="events pushed live")
    parser.add_argument("--anywhere", action="store_true", help="give nobody a core of its own")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


@contextmanager
def _event_store(uri: str | None, *, pinned: bool) -> Iterator[str]:
    cores = _cores() if pinned else []
    if len(cores) > 1:
        os.sched_setaffinity(0, cores[:1])
    if uri is not None:
        yield uri
        return
    with (
        tempfile.TemporaryDirectory() as folder,
        running_event_store(Path(folder) / "events.sqlite") as store,
    ):
        if len(cores) > 1:
            _move(store.process.pid, cores[1:])
        yield store.uri


def _cores() -> list[int]:
    """The cores that this process may use; none where the system does not say."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


def _move(pid: int, cores: list[int]) -> None:
    """Let all threads of a process run on these cores only."""
    for thread in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(thread.name), cores)


def _measure(uri: str, appends: int, live: int) -> dict[str, float]:
    client = EventStoreDBClient(uri)
    try:
        _append_from(client, threads=1, appends=200)
        latencies = _live_latencies(client, live)
        return {
            "appends_per_second_1_thread": _append_from(client, threads=1, appends=appends),
            "appends_per_second_8_threads": _append_from(client, threads=8, appends=appends),
            "events_per_second_read_all": _read_all(client),
            "live_p50_ms": statistics.median(latencies) * 1000,
            "live_p99_ms": statistics.quantiles(latencies, n=100)[98] * 1000,
        }
    finally:
        client.close()


def _events(number: int) -> list[NewEvent]:
    """One or two events, as the loan desk appends them."""
    return [NewEvent(type=kind, data=DATA, metadata=METADATA) for kind in TYPES[: 1 + number % 2]]


def _append_from(client: EventStoreDBClient, threads: int, appends: int) -> float:
    """Appends per second, each to a new stream."""

    def work() -> None:
        for number in range(appends // threads):
            client.append_to_stream(
                f"LoanRequest:{uuid4()}",
                current_version=StreamState.NO_STREAM,
                events=_events(number),
                timeout=10,
            )

    return appends / _seconds(work, threads)


def _seconds(work: Callable[[], None], threads: int) -> float:
    workers = [threading.Thread(target=work) for _ in range(threads)]
    began = time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return time.perf_counter() - began


def _read_all(client: EventStoreDBClient) -> float:
    """Events per second through all of the log."""
    began = time.perf_counter()
    count = sum(1 for _ in client.read_all())
    return count / (time.perf_counter() - began)


def _live_latencies(client: EventStoreDBClient, events: int) -> list[float]:
    """Seconds from an append's answer to the event's arrival in a subscription.

    An event that arrives before the answer does counts as 0.
    """
    received: dict[str, float] = {}
    subscription = client.subscribe_to_all(from_end=True, include_caught_up=True, timeout=120)
    caught_up = threading.Event()

    def receive() -> None:
        for event in subscription:
            if event.is_caught_up:
                caught_up.set()
            elif isinstance(event, RecordedEvent):
                received[str(event.id)] = time.perf_counter()
            if len(received) == events:
                return

    receiver = threading.Thread(target=receive)
    receiver.start()
    caught_up.wait(10)
    answered: dict[str, float] = {}
    for _ in range(events):
        event = NewEvent(type=TYPES[0], data=DATA, metadata=METADATA)
        client.append_to_stream(
            f"LoanRequest:{uuid4()}", current_version=StreamState.NO_STREAM, events=[event]
        )
        answered[str(event.id)] = time.perf_counter()
        time.sleep(0.001)
    receiver.join(30)
    subscription.stop()
    return [max(0.0, received[event_id] - at) for event_id, at in answered.items()]


def _table(figures: dict[str, float]) -> Table:
    table = Table("figure", "measured", "wanted", title="event store")
    for name, value in figures.items():
        table.add_row(name, f"{value:,.2f}" if "ms" in name else f"{value:,.0f}", _wanted(name))
    return table


def _wanted(name: str) -> str:
    if name in FLOORS:
        return f"at least {FLOORS[name]:,.0f}"
    return f"below {CEILINGS[name]}" if name in CEILINGS else ""


if __name__ == "__main__":
    main()
