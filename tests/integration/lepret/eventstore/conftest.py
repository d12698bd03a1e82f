"""Event stores to run the tests against, and clients of them."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from esdbclient import EventStoreDBClient

from tests.support.event_store import RunningEventStore, running_event_store
from tests.support.eventstoredb import running_eventstoredb

Connect = Callable[[str], EventStoreDBClient]


@pytest.fixture(scope="session", params=["embedded", "eventstoredb"])
def uri(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The embedded event store, and a real one where Docker runs; the tests share each."""
    if request.param == "embedded":
        with running_event_store(tmp_path_factory.mktemp("store") / "events.sqlite") as store:
            yield store.uri
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
    clients: list[EventStoreDBClient] = []

    def connect_to(uri: str) -> EventStoreDBClient:
        clients.append(EventStoreDBClient(uri))
        return clients[-1]

    yield connect_to
    for client in clients:
        client.close()


@pytest.fixture
def client(uri: str, connect: Connect) -> EventStoreDBClient:
    """A client of the event store under test."""
    return connect(uri)
