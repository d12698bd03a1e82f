"""One measurement of `replay.py`, in a process of its own.

Prints one JSON object: events per second, and by how many megabytes the process grew after the
first 10,000 events.

python benchmarks/replaying.py raw|one|all|plain EVENTS
"""

from __future__ import annotations

import json
import resource
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import django
from esdbclient import EventStoreDBClient

sys.path.insert(0, str(Path(__file__).parents[1]))
django.setup()

from lepret.common.event_store_client import close_event_store_client, event_store_client
from loans.adapters import codec
from readmodels.projections import PROJECTIONS
from readmodels.projector.batches import Applier
from readmodels.projector.coordination.coordinator import NoCoordinator
from readmodels.projector.feeds import EventStoreSource, Feeds
from readmodels.projector.follower import Follower
from readmodels.projector.received import Received

QUEUE = "underwriters_queue"


def main() -> None:
    """Run the measurement that the command line names."""
    name, events = sys.argv[1:]
    memory = Memory()
    per_second = MEASUREMENTS[name](int(events), memory)
    print(json.dumps({"per_second": per_second, "growth_mb": memory.growth_mb}))


class Memory:
    """How much this process grows after its first events."""

    FIRST = 10_000

    def __init__(self) -> None:
        self._after_first: float | None = None

    def note(self, events: int) -> None:
        """Record that this many events have been applied."""
        if events >= self.FIRST and self._after_first is None:
            self._after_first = _most_mb()

    @property
    def growth_mb(self) -> float | None:
        """Megabytes; `None` if there were too few events to tell."""
        return None if self._after_first is None else _most_mb() - self._after_first


def _most_mb() -> float:
    in_bytes_on_macos_else_in_kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return in_bytes_on_macos_else_in_kilobytes / (2**20 if sys.platform == "darwin" else 2**10)


def raw(events: int, memory: Memory) -> float:
    """Only reading and decoding."""
    with _client() as client:
        began = time.perf_counter()
        for event in client.read_all():
            codec.decode(event.type, event.data, event.metadata)
        return events / (time.perf_counter() - began)


def one(events: int, memory: Memory) -> float:
    """The queue alone, caught up from zero."""
    return _catch_up([QUEUE], events, memory)


def all_of_them(events: int, memory: Memory) -> float:
    """All projections in one process."""
    return _catch_up(list(PROJECTIONS), events, memory)


def plain(events: int, memory: Memory) -> float:
    """The queue, over the log's first events, with one transaction per event."""
    applier = Applier.live(PROJECTIONS[QUEUE])
    with _client() as client:
        began = time.perf_counter()
        for recorded in islice(client.read_all(), events):
            applier.apply([Received(recorded)])
        return events / (time.perf_counter() - began)


MEASUREMENTS: dict[str, Callable[[int, Memory], float]] = {
    "raw": raw,
    "one": one,
    "all": all_of_them,
    "plain": plain,
}


def _catch_up(names: Sequence[str], events: int, memory: Memory) -> float:
    """Catch up like `manage.py project --once`, without the start of the process."""
    stop = threading.Event()
    feeds = Feeds(EventStoreSource(event_store_client))
    followers = [
        Follower(
            PROJECTIONS[name],
            feeds=feeds,
            announcer=MemoryAnnouncer(memory),
            coordinator=NoCoordinator(),
            stop=stop,
        )
        for name in names
    ]
    began = time.perf_counter()
    with ThreadPoolExecutor(len(followers)) as threads:
        for catching_up in [threads.submit(follower.catch_up) for follower in followers]:
            catching_up.result()
    seconds = time.perf_counter() - began
    close_event_store_client()
    return events / seconds


class MemoryAnnouncer:
    """Records the size of the process at each commit, instead of broadcasting."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    def send(self, changes: object, *, recorded_at: object = None) -> None: ...

    def send_reached(self, name: str, position: int) -> None:
        # In this store, positions count events.
        self._memory.note(position)


@contextmanager
def _client() -> Iterator[EventStoreDBClient]:
    """The projector's own client, so that measurements differ only in its use."""
    try:
        yield event_store_client()
    finally:
        close_event_store_client()


if __name__ == "__main__":
    main()
