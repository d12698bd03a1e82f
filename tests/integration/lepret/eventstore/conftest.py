"""Event stores to run the tests against, and clients of them."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import grpc
import pytest
from esdbclient import EventStoreDBClient

from tests.support.event_store import (
    EmbeddedEventStore,
    needs_the_embedded_store,
    running_embedded_event_store,
)
from tests.support.eventstoredb import KINDS, event_store_of_kind

Connect = Callable[[str], EventStoreDBClient]


@pytest.fixture(scope="session", params=KINDS)
def uri(request: pytest.FixtureRequest) -> Iterator[str]:
    """The embedded event store, and a real one where there is one; the tests share each."""
    with event_store_of_kind(request) as uri:
        yield uri


@pytest.fixture(scope="session")
def embedded_event_store(request: pytest.FixtureRequest) -> EmbeddedEventStore:
    """The embedded event store that tests share."""
    needs_the_embedded_store()
    store = request.getfixturevalue("shared_event_store")
    assert isinstance(store, EmbeddedEventStore)
    return store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EmbeddedEventStore]:
    """An embedded event store of the test's own."""
    with running_embedded_event_store(tmp_path / "events") as store:
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
def channel(embedded_event_store: EmbeddedEventStore) -> Iterator[grpc.Channel]:
    """For stubs: sends requests that no client sends, and shows answers that no client shows."""
    with grpc.insecure_channel(f"127.0.0.1:{embedded_event_store.port}") as channel:
        yield channel
