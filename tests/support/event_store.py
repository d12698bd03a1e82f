"""A running event store, for tests that need one.

It is the embedded one, unless a variable names another:

- `EVENTSTORE_TEST_COMMAND` starts one, in the foreground, for each test that needs one of its own,
  and one for all others: `program {port} {folder}`, with a free port and a folder for its files;
- `EVENTSTORE_TEST_URI` is that of one that runs. Tests that need an empty one, or one that they may
  stop, are skipped then.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import pytest

from tests.support.event_store_servers import (
    CommandedEventStore,
    EmbeddedEventStore,
    EventStoreDidNotStart,
    RunningEventStore,
)

__all__ = [
    "IS_EMBEDDED",
    "EmbeddedEventStore",
    "EventStore",
    "EventStoreDidNotStart",
    "RunningEventStore",
    "any_event_store",
    "needs_the_embedded_store",
    "running_embedded_event_store",
    "running_event_store",
]

COMMAND: Final = os.environ.get("EVENTSTORE_TEST_COMMAND", "")
URI: Final = os.environ.get("EVENTSTORE_TEST_URI", "")
IS_EMBEDDED: Final = not (COMMAND or URI)


class EventStore(Protocol):
    """A server that runs."""

    @property
    def uri(self) -> str:
        """The URI that clients connect to."""


@dataclass(frozen=True)
class NamedEventStore:
    """A server that runs already, and goes on when the tests are over."""

    uri: str


@contextmanager
def running_event_store(folder: Path, port: int = 0) -> Iterator[RunningEventStore]:
    """A server of the test's own, on what the folder holds; port 0 takes a free port.

    Skips the test where `EVENTSTORE_TEST_URI` names a server, which others use, too.
    """
    if URI:
        pytest.skip("EVENTSTORE_TEST_URI names no event store that this may fill, stop and start")
    store: RunningEventStore = (
        CommandedEventStore(COMMAND, folder, port) if COMMAND else EmbeddedEventStore(folder, port)
    )
    with store:
        yield store


@contextmanager
def running_embedded_event_store(folder: Path, **options: Any) -> Iterator[EmbeddedEventStore]:
    """An embedded server, for tests of its own ways; options as for `EmbeddedEventStore`.

    Skips the test where a variable names another event store.
    """
    needs_the_embedded_store()
    with EmbeddedEventStore(folder, **options) as store:
        yield store


@contextmanager
def any_event_store(folder: Path) -> Iterator[EventStore]:
    """A server for tests that look only at streams of their own; others may use it, too."""
    if URI:
        yield NamedEventStore(URI)
        return
    with running_event_store(folder) as store:
        yield store


def needs_the_embedded_store(reason: str = "this tests its own ways") -> None:
    """Skip the test, for this reason, where a variable names another event store."""
    if IS_EMBEDDED:
        return
    variable = "EVENTSTORE_TEST_COMMAND" if COMMAND else "EVENTSTORE_TEST_URI"
    pytest.skip(f"{variable} names another event store than the embedded one: {reason}")
