"""A real EventStoreDB (now KurrentDB) in a container, where Docker runs.

`EVENTSTORE_TEST_IMAGE` names an image of either.
"""

import os
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from testcontainers.core.container import DockerContainer
from testcontainers.core.docker_client import DockerClient

from tests.support.processes import wait_until

IMAGE = os.environ.get("EVENTSTORE_TEST_IMAGE", "docker.kurrent.io/kurrent-lts/kurrentdb:26.0.3")


@contextmanager
def running_eventstoredb() -> Iterator[str]:
    """Run a server and yield its URI. Skips the test where Docker does not run."""
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
