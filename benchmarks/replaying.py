"""One measurement of `replay.py` or `simulate.py`, in a process of its own.

Prints one JSON object: events per second, the process's CPU time for one event, which part of the
machine's cores was used meanwhile, by whomever, and by how many megabytes the process grew after
the first 10,000 events.

python benchmarks/replaying.py raw|one|all|plain|simulation EVENTS
"""

from __future__ import annotations

import json
import os
import resource
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from math import inf
from pathlib import Path

import django
from esdbclient import EventStoreDBClient

sys.path.insert(0, str(Path(__file__).parents[1]))
django.setup()

from benchmarks.cores import machine_cpu_seconds
from lepret.common.event_store_client import close_event_store_client, event_store_client
from lepret.common.memory import prepare_memory
from loans.adapters import codec
from loans.application.policy_simulations import report_on
from loans.domain.policy import Policy
from loans.domain.policy_simulation import Period
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
    prepare_memory()
    memory = Memory()
    began, cpu_began = time.perf_counter(), machine_cpu_seconds()
    own_cpu_began = time.process_time()
    per_second = MEASUREMENTS[name](int(events), memory)
    machine_seconds = (time.perf_counter() - began) * (os.cpu_count() or 1)
    figures = {
        "per_second": per_second,
        "cpu_microseconds": 1e6 * (time.process_time() - own_cpu_began) / int(events),
        "cores_used": (machine_cpu_seconds() - cpu_began) / machine_seconds,
        "growth_mb": memory.growth_mb,
    }
    print(json.dumps(figures))


class Memory:
    """How much this process grows after its first events."""

    FIRST = 10_000

    def __init__(self) -> None:
        self._after_first: float | None = None

    def note(self) -> None:
        """Record that the first events have been applied."""
        if self._after_first is None:
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


def simulation(events: int, memory: Memory) -> float:
    """What another policy would have done."""
    policy = Policy(deny_up_to=5, approve_from=8, automatic_up_to=10_000, four_eyes_above=50_000)

    def on_page(reached: int, end: int) -> None:
        # Positions grow about evenly with the events.
        if reached * events >= end * memory.FIRST:
            memory.note()

    began = time.perf_counter()
    report = report_on(policy, Period(), connect=event_store_client, on_page=on_page)
    seconds = time.perf_counter() - began
    close_event_store_client()
    assert report.simulated.changed, "the policy is another one"
    return events / seconds


MEASUREMENTS: dict[str, Callable[[int, Memory], float]] = {
    "raw": raw,
    "one": one,
    "all": all_of_them,
    "plain": plain,
    "simulation": simulation,
}


def _catch_up(names: Sequence[str], events: int, memory: Memory) -> float:
    """Catch up like `manage.py project --once`, without the start of the process."""
    announcer = MemoryAnnouncer(memory, _position_of(Memory.FIRST))
    stop = threading.Event()
    feeds = Feeds(EventStoreSource(event_store_client))
    followers = [
        Follower(
            PROJECTIONS[name],
            feeds=feeds,
            announcer=announcer,
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


def _position_of(number: int) -> float:
    """The position of the event with this number, from 1 on; infinite if there are fewer."""
    with _client() as client:
        events = client.read_all(limit=number)
        found = next(islice(events, number - 1, None), None)
    return inf if found is None or found.commit_position is None else found.commit_position


class MemoryAnnouncer:
    """Records the size of the process once a position is reached, instead of broadcasting."""

    def __init__(self, memory: Memory, position: float) -> None:
        self._memory = memory
        self._position = position

    def send(self, changes: object, *, recorded_at: object = None) -> None: ...

    def send_reached(self, name: str, position: int) -> None:
        if position >= self._position:
            self._memory.note()


@contextmanager
def _client() -> Iterator[EventStoreDBClient]:
    """The projector's own client, so that measurements differ only in its use."""
    try:
        yield event_store_client()
    finally:
        close_event_store_client()


if __name__ == "__main__":
    main()
