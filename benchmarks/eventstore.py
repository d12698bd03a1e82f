"""How fast an event store is with the client of the application, in a process of its own.

Run ``python benchmarks/eventstore.py`` for the embedded event store, or name a running EventStoreDB
with ``--uri``. ``EVENTSTORE_TEST_URI`` and ``EVENTSTORE_TEST_COMMAND`` count as in the tests.
``--json`` prints the figures as one JSON object in the last line.
``--million`` measures instead how long the embedded event store takes to open a file of a million
events, and how much memory it takes to serve them. This needs minutes and a gigabyte of disk.

The client gets one core, and the embedded event store the others: grpcio's client hands every
message from one thread to another, and waking a thread on another, idle core costs several times as
much as the message itself. ``--anywhere`` leaves both to the operating system, for comparison.
"""

import argparse
import json
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path
from uuid import uuid4

from esdbclient import NewEvent, RecordedEvent, StreamState
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.cores import keep_apart, keep_to_one_core
from benchmarks.machine import ran_on
from lepret.common.event_store_connection import SharedClient
from lepret.eventstore.storage.datafile import prepare_data_file
from lepret.eventstore.storage.log import Log
from lepret.eventstore.writes import Append, Expectation, ProposedEvent
from tests.support.event_store import IS_EMBEDDED, URI, EmbeddedEventStore, running_event_store

FLOORS = {
    "appends_per_second_8_threads": 1500.0,
    "appends_per_second_1_thread": 1000.0,
    "events_per_second_read_all": 14000.0,
}
CEILINGS = {"live_p99_ms": 0.5, "start_s": 1.0, "memory_growth_mb": 20.0}

MILLION = 1_000_000
APPENDS_AT_ONCE = 5000

DATA = json.dumps(
    {"name": "Jeanne Martin", "national_id": "123456aa", "amount": 12500, "credit_score": 6}
).encode()
METADATA = json.dumps({"$correlationId": str(uuid4()), "$causationId": str(uuid4())}).encode()
TYPES = ("LoanRequested", "CreditChecked")


def main() -> None:
    """Measure, and print a table."""
    arguments = _arguments()
    machine = ran_on(is_embedded=arguments.million or (IS_EMBEDDED and not arguments.uri))
    pinned = not arguments.anywhere
    if arguments.million:
        figures = _measure_million(pinned=pinned)
    else:
        with _event_store(arguments.uri, pinned=pinned) as uri:
            figures = _measure(uri, arguments.appends, arguments.live)
    Console().print(_table(figures, machine))
    if arguments.json:
        print(json.dumps({"ran_on": machine, **figures}))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--uri", default=URI, help="of a running event store (default: the embedded one)"
    )
    parser.add_argument("--appends", type=int, default=8000, help="per measurement")
    parser.add_argument("--live", type=int, default=1500, help="events pushed live")
    parser.add_argument(
        "--million", action="store_true", help="measure the embedded one on a large file"
    )
    parser.add_argument("--anywhere", action="store_true", help="pin no process to cores")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


@contextmanager
def _event_store(uri: str, *, pinned: bool) -> Iterator[str]:
    if uri:
        if pinned:
            keep_to_one_core()
        yield uri
        return
    with (
        tempfile.TemporaryDirectory() as folder,
        running_event_store(Path(folder) / "events") as store,
    ):
        if pinned:
            keep_apart(*store.pids)
        yield store.uri


def _measure(uri: str, appends: int, live: int) -> dict[str, float]:
    client = SharedClient(uri)
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


def _append_from(client: SharedClient, threads: int, appends: int) -> float:
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


def _read_all(client: SharedClient) -> float:
    """Events per second of a read of `$all`."""
    began = time.perf_counter()
    count = sum(1 for _ in client.read_all())
    return count / (time.perf_counter() - began)


def _live_latencies(client: SharedClient, events: int) -> list[float]:
    """Seconds from an append's answer to the event's arrival in a subscription.

    An event that arrives before the answer counts as 0.
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


def _measure_million(*, pinned: bool) -> dict[str, float]:
    """How fast a server starts with a million events, and its memory while they are read."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "events.sqlite"
        _fill(path)
        began = time.perf_counter()
        with EmbeddedEventStore(path.parent, name=path.name) as store:
            start = time.perf_counter() - began
            if pinned:
                keep_apart(store.pid)
            return {
                "start_s": start,
                "file_mb": path.stat().st_size / 1e6,
                **_measure_reading(store),
            }


def _fill(path: Path) -> None:
    """Write a log of a million events, two per stream, as the server writes them."""
    prepare_data_file(path)
    log = Log(path)
    for _ in range(MILLION // len(TYPES) // APPENDS_AT_ONCE):
        log.append_all([_append() for _ in range(APPENDS_AT_ONCE)])
    log.close()


def _append() -> Append:
    events = [ProposedEvent(uuid4(), kind, True, DATA, METADATA) for kind in TYPES]
    return Append(f"LoanRequest:{uuid4()}", Expectation.NO_STREAM, tuple(events))


def _measure_reading(store: EmbeddedEventStore) -> dict[str, float]:
    client = SharedClient(store.uri)
    try:
        memory_at_start = _memory(store, "VmRSS")
        read = _per_second(client.read_all())
        memory_after_read = _memory(store, "VmHWM")
        with client.subscribe_to_all(include_caught_up=True) as subscription:
            followed = _per_second(takewhile(lambda event: not event.is_caught_up, subscription))
        memory_after_subscription = _memory(store, "VmHWM")
    finally:
        client.close()
    return {
        "events_per_second_read_all": read,
        "events_per_second_subscription": followed,
        "memory_at_start_mb": memory_at_start,
        "most_memory_read_all_mb": memory_after_read,
        "most_memory_subscription_mb": memory_after_subscription,
        "memory_growth_mb": memory_after_subscription - memory_at_start,
    }


def _per_second(events: Iterable[RecordedEvent]) -> float:
    """Events per second. There must be a million."""
    began = time.perf_counter()
    count = sum(1 for _ in events)
    assert count == MILLION, count
    return count / (time.perf_counter() - began)


def _memory(store: EmbeddedEventStore, figure: str) -> float:
    """The server's resident memory in megabytes: VmRSS is the present, VmHWM the highest."""
    status = Path(f"/proc/{store.pid}/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith(f"{figure}:")]
    return int(line.split()[1]) * 1024 / 1e6


def _table(figures: dict[str, float], machine: str) -> Table:
    table = Table("figure", "measured", "wanted", title=machine)
    for name, value in figures.items():
        digits = 2 if name.endswith(("_ms", "_s")) else 0
        table.add_row(name, f"{value:,.{digits}f}", _wanted(name))
    return table


def _wanted(name: str) -> str:
    if name in FLOORS:
        return f"at least {FLOORS[name]:,.0f}"
    return f"below {CEILINGS[name]}" if name in CEILINGS else ""


if __name__ == "__main__":
    main()
