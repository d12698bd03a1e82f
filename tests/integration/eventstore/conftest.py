"""Event stores to run the tests against, and clients of them."""

import os
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from esdbclient import EventStoreDBClient
from testcontainers.core.container import DockerContainer
from testcontainers.core.docker_client import DockerClient

from tests.support.event_store import RunningEventStore, running_event_store
from tests.support.processes import wait_until

IMAGE = os.environ.get("EVENTSTORE_TEST_IMAGE", "docker.kurrent.io/kurrent-lts/kurrentdb:26.0.3")

Connect = Callable[[str], EventStoreDBClient]


@pytest.fixture(scope="session", params=["embedded", "eventstoredb"])
def uri(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The embedded event store, and a real one where Docker runs; the tests share each."""
    if request.param == "embedded":
        with running_event_store(tmp_path_factory.mktemp("store") / "events.sqlite") as store:
            yield store.uri
    else:
        yield from _real_event_store()


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


def _real_event_store() -> Iterator[str]:
    try:
        DockerClient().client.ping()
    except Exception as error:  # noqa: BLE001 - whatever the reason is, the test says it
        pytest.skip(f"Docker does not run: {error}")
    container = DockerContainer(IMAGE).with_exposed_ports(2113)
    for prefix in ("KURRENTDB", "EVENTSTORE"):
        container = (
            container.with_env(f"{prefix}_INSECURE", "true")
            .with_env(f"{prefix}_CLUSTER_SIZE", "1")
            .with_env(f"{prefix}_RUN_PROJECTIONS", "All")
            .with_env(f"{prefix}_MEM_DB", "true")
        )
    with container:
        address = f"{container.get_container_host_ip()}:{container.get_exposed_port(2113)}"
        _wait_until_live(f"http://{address}/health/live")
        yield f"esdb://{address}?tls=false"


def _wait_until_live(url: str) -> None:
    def is_live() -> bool:
        try:
            with urllib.request.urlopen(url, timeout=2) as response:  # noqa: S310 - our own address
                return bool(response.status == 204)
        except OSError:
            return False

    wait_until(is_live, timeout=60, what="EventStoreDB is live")
