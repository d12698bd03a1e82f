"""A real EventStoreDB (now KurrentDB) for tests that compare it with the embedded event store.

It is the one that a variable names (`tests.support.event_store`), otherwise one in a container,
where Docker runs: `EVENTSTORE_TEST_IMAGE` names an image of either.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import pytest
from testcontainers.core.container import DockerContainer
from testcontainers.core.docker_client import DockerClient

from tests.support.event_store import IS_EMBEDDED, needs_the_embedded_store
from tests.support.event_store_servers import is_live
from tests.support.processes import wait_until

IMAGE = os.environ.get("EVENTSTORE_TEST_IMAGE", "docker.kurrent.io/kurrent-lts/kurrentdb:26.0.3")

KINDS: Final = ("embedded", "eventstoredb")


@contextmanager
def event_store_of_kind(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URI of an event store of the kind that the fixture's parameter names."""
    if request.param == "eventstoredb" and IS_EMBEDDED:
        with running_eventstoredb() as uri:
            yield uri
        return
    if request.param == "embedded":
        needs_the_embedded_store()
    yield request.getfixturevalue("shared_event_store").uri


@contextmanager
def running_eventstoredb() -> Iterator[str]:
    """Run a server in a container and yield its URI. Skips the test where Docker does not run."""
    try:
        DockerClient().client.ping()
    except Exception as error:  # noqa: BLE001 - any error means no Docker
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
        wait_until(lambda: is_live(address), what="EventStoreDB is live")
        yield f"esdb://{address}?tls=false"
