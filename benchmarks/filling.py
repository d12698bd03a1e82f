"""Fills an event store, as fast as it allows, with what a benchmark wants to be in it."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Final

from esdbclient import EventStoreDBClient, NewEvent, StreamState

from lepret.eventstore.storage.datafile import prepare_data_file
from lepret.eventstore.storage.log import Log
from lepret.eventstore.writes import Append, Expectation, Expected

APPENDS_AT_ONCE: Final = 1000
"""So many are under way together; none of them may expect another one's stream."""

_THREADS: Final = 16
_SECONDS: Final = 30.0
_STATES: Final[dict[Expected, StreamState]] = {
    Expectation.NO_STREAM: StreamState.NO_STREAM,
    Expectation.STREAM_EXISTS: StreamState.EXISTS,
}


def fill_file(path: Path, appends: Iterable[Append], events: int) -> None:
    """Write the embedded store's file, with `events` events or one or two more."""
    prepare_data_file(path)
    with closing(Log(path)) as log:
        for some in _batches(appends, events):
            log.append_all(some)


def fill_by_appends(uri: str, appends: Iterable[Append], events: int) -> None:
    """Append `events` events, or one or two more, to a store. Ends the program if it has any."""
    with EventStoreDBClient(uri) as client, ThreadPoolExecutor(_THREADS) as threads:
        if next(iter(client.read_all(limit=1, timeout=_SECONDS)), None) is not None:
            sys.exit(f"{uri} has events: this benchmark needs an empty event store.")

        def append(one: Append) -> None:
            client.append_to_stream(
                one.stream,
                current_version=_STATES[one.expected],
                events=[
                    NewEvent(type=each.type, data=each.data, metadata=each.metadata, id=each.id)
                    for each in one.events
                ],
                timeout=_SECONDS,
            )

        for some in _batches(appends, events):
            list(threads.map(append, some))


def _batches(appends: Iterable[Append], events: int) -> Iterator[list[Append]]:
    all_, left = iter(appends), events
    while left > 0:
        some = list(islice(all_, min(APPENDS_AT_ONCE, left // 3 + 1)))
        left -= sum(len(append.events) for append in some)
        yield some
