"""Streams that nobody has closed, and that Python closes at an awkward moment."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator

import pytest

from lepret.common.event_store_client import event_store_client
from lepret.common.event_store_connection import SharedClient
from tests.support.processes import PATIENCE

# More than a call makes until its stream is noted.
MOST_NEW_OBJECTS = 400


@pytest.fixture
def client(streams: None) -> SharedClient:
    return event_store_client()


@pytest.fixture(autouse=True)
def _usual_garbage_collection() -> Iterator[None]:
    usual = gc.get_threshold()
    gc.freeze()  # What other tests have left need not be looked at.
    yield
    gc.unfreeze()
    gc.set_threshold(*usual)
    gc.enable()


def forget_streams(client: SharedClient) -> None:
    """Leave a stream to the garbage collector, which must not run yet."""
    gc.collect()
    gc.disable()
    forgotten: list[object] = [client.read_all(limit=1, timeout=PATIENCE)]
    forgotten.append(forgotten)  # Only the garbage collector finds such a cycle.


def collect_after(new_objects: int) -> None:
    gc.set_threshold(gc.get_count()[0] + new_objects)
    gc.enable()


@pytest.mark.parametrize("action", ["note", "look"])
def test_streams_may_be_collected_at_any_moment(client: SharedClient, action: str) -> None:
    streamers = client.connection._grpc_streamers  # noqa: SLF001
    kept = [client.read_all(limit=1, timeout=PATIENCE) for _ in range(3)]
    found = []

    def collect_at_each_moment() -> None:
        for new_objects in range(1, MOST_NEW_OBJECTS):
            forget_streams(client)
            collect_after(new_objects)
            if action == "note":
                list(client.read_all(limit=1, timeout=PATIENCE))
            else:
                found.append(len([*streamers]) >= len(kept))

    # A daemon: without the mend it would wait for ever.
    thread = threading.Thread(target=collect_at_each_moment, daemon=True)
    thread.start()
    thread.join(PATIENCE)

    assert not thread.is_alive()
    assert all(found)
