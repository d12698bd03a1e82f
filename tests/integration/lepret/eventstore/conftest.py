"""Event stores to run the tests against, and clients of them."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import grpc
import pytest
from esdbclient import EventStoreDBClient

from tests.support.event_store import RunningEventStore, running_event_store
from tests.support.eventstoredb import running_eventstoredb

Connect = Callable[[str], EventStoreDBClient]


@pytest.fixture(scope="session", params=["embedded", "eventstoredb"])
def uri(request: pytest.FixtureRequest) -> Iterator[str]:
    """The embedded event store, and a real one where Docker runs; the tests share each."""
    if request.param == "embedded":
        yield request.getfixturevalue("shared_event_store").uri
    else:
        with running_eventstoredb() as uri:
            yield uri


@pytest.fixture
def store(tmp_path: Path) -> Iterator[RunningEventStore]:
    """An embedded event store of the test's own."""
    with running_event_store(tmp_path / "events.sqlite") as store:
        yield store


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Makes clients that are closed after the test."""
    with ExitStack() as clients:
        yield lambda uri: clients.enter_context(EventStoreDBClient(uri))


@pytest.fixture
def client(uri: str, connect: Connect) -> EventStoreDBClient:
    """A client of the event store under test."""
    return connect(uri)


@pytest.fixture
def channel(shared_event_store: RunningEventStore) -> Iterator[grpc.Channel]:
    """For stubs: sends requests that no client sends, and shows answers that no client shows."""
    with grpc.insecure_channel(f"127.0.0.1:{shared_event_store.port}") as channel:
        yield channel
