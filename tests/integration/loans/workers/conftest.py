"""One fork server for all tests. Its processes expect their servers at fixed ports."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.event_store import RunningEventStore
from tests.support.fork_server import ForkServer
from tests.support.processes import free_port
from tests.support.workers import Ports, Workers, forks_for_workers


@pytest.fixture(scope="package")
def ports() -> Ports:
    return Ports(event_store=free_port(), credit_bureau=free_port())


@pytest.fixture(scope="package")
def forks(ports: Ports, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkServer]:
    with forks_for_workers(ports, tmp_path_factory.mktemp("workers")) as forks:
        yield forks


@pytest.fixture
def event_store_port(ports: Ports) -> int:
    """The port at which the workers look for the event store."""
    return ports.event_store


@pytest.fixture
def workers(forks: ForkServer, ports: Ports, event_store: RunningEventStore) -> Iterator[Workers]:
    """Starts workers on this test's event store, and kills those that still run."""
    workers = Workers(forks, ports)
    yield workers
    workers.close()
