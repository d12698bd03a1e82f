"""One measurement of `replay.py`, in a process of its own: prints events per second.

python benchmarks/replaying.py raw|one|all|plain EVENTS
"""

from __future__ import annotations

import os
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

from lepret.event_store_client import close_event_store_client, event_store_client
from loans import codec
from readmodels.batches import apply_batch, read_checkpoint
from readmodels.projections import PROJECTIONS
from readmodels.projector import Follower

QUEUE = "underwriters_queue"


def main() -> None:
    """Measure what the command line names."""
    name, events = sys.argv[1:]
    print(MEASUREMENTS[name](int(events)))


def raw(events: int) -> float:
    """Reading and decoding, and no more."""
    with _client() as client:
        began = time.perf_counter()
        for event in client.read_all():
            codec.decode(event.type, event.data, event.metadata)
        return events / (time.perf_counter() - began)


def one(events: int) -> float:
    """The queue alone, caught up from zero."""
    return _catch_up([QUEUE], events)


def all_of_them(events: int) -> float:
    """All projections in one process."""
    return _catch_up(list(PROJECTIONS), events)


def plain(events: int) -> float:
    """The queue, over the log's first events, with a transaction for each."""
    projection = PROJECTIONS[QUEUE]
    position = read_checkpoint(projection)
    with _client() as client:
        began = time.perf_counter()
        for event in islice(client.read_all(), events):
            apply_batch(projection, [event], after=position)
            position = event.commit_position or position
        return events / (time.perf_counter() - began)


MEASUREMENTS: dict[str, Callable[[int], float]] = {
    "raw": raw,
    "one": one,
    "all": all_of_them,
    "plain": plain,
}


def _catch_up(names: Sequence[str], events: int) -> float:
    """As `manage.py project --once` does it, less the start of the process."""
    stop = threading.Event()
    followers = [
        Follower(PROJECTIONS[name], connect=event_store_client, announce=_nobody, stop=stop)
        for name in names
    ]
    began = time.perf_counter()
    with ThreadPoolExecutor(len(followers)) as threads:
        for catching_up in [threads.submit(follower.catch_up) for follower in followers]:
            catching_up.result()
    seconds = time.perf_counter() - began
    close_event_store_client()
    return events / seconds


def _nobody(changes: object) -> None:
    """Of a rebuild nobody is told."""


@contextmanager
def _client() -> Iterator[EventStoreDBClient]:
    client = EventStoreDBClient(os.environ["EVENTSTORE_URI"])
    try:
        yield client
    finally:
        client.close()


if __name__ == "__main__":
    main()
