"""Memory of a projector, which reads ahead, while events of a megabyte come in."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final
from uuid import UUID, uuid4

import pytest
from esdbclient import NewEvent, StreamState

from lepret.common.event_store_client import event_store_client
from loans.adapters import codec
from tests.support.caught_up import wait_until_level
from tests.support.event_store import RunningEventStore
from tests.support.fork_server import Forked, ForkServer
from tests.support.management_commands import forks_for
from tests.support.processes import wait_until
from tests.support.projectors import are_caught_up
from tests.support.read_models import ReadModelsDatabase
from tests.support.valkey import RunningValkey

pytestmark = pytest.mark.usefixtures("event_store", "read_models")

SECONDS: Final = 120.0
MEGABYTE: Final = "x" * 1_000_000
EVENTS: Final = 150
# What is read ahead and kept, a batch for each of the six projections, gRPC's window, and what lies
# between.
MORE_MEGABYTES: Final = 100


@pytest.fixture
def forks(
    event_store: RunningEventStore,
    read_models: ReadModelsDatabase,
    shared_valkey: RunningValkey,
    tmp_path: Path,
) -> Iterator[ForkServer]:
    with forks_for(event_store, read_models, shared_valkey.url, tmp_path) as forks:
        yield forks


def of_another_application(id_: UUID) -> tuple[str, NewEvent]:
    return f"Shop:{id_}", NewEvent(type="LoanRequested", data=json.dumps(MEGABYTE).encode())


def with_a_field_of_a_newer_version(id_: UUID) -> tuple[str, NewEvent]:
    data = {
        "id": str(id_),
        "occurred_at": "2026-11-29T09:30:00Z",
        "name": "Ann",
        "national_id": "123456aa",
        "amount": 5000,
        "address": "",
        "picture": MEGABYTE,
    }
    return codec.stream_name(id_), NewEvent(type="LoanRequested", data=json.dumps(data).encode())


@pytest.mark.parametrize("read_models", ["sqlite"], indirect=True)
@pytest.mark.parametrize("make", [of_another_application, with_a_field_of_a_newer_version])
def test_large_events_are_not_kept(
    forks: ForkServer, make: Callable[[UUID], tuple[str, NewEvent]]
) -> None:
    live = forks.start("project", name="live")
    wait_until(lambda: are_caught_up(live.output), SECONDS)
    idle = peak_of(live)
    append(make)
    wait_until_level(SECONDS)
    assert peak_of(live) < idle + MORE_MEGABYTES
    assert live.stop() == 0

    rebuild = forks.start("rebuild", name="rebuild")
    peaks = [idle]

    def has_ended() -> bool:
        peaks.append(peak_of(rebuild))
        return rebuild.status is not None

    wait_until(has_ended, 2 * SECONDS, what="the rebuild ends")
    assert rebuild.wait() == 0
    assert max(peaks) < idle + MORE_MEGABYTES


def append(make: Callable[[UUID], tuple[str, NewEvent]]) -> None:
    for _ in range(EVENTS):
        stream, event = make(uuid4())
        event_store_client().append_to_stream(
            stream, current_version=StreamState.NO_STREAM, events=[event]
        )


def peak_of(process: Forked) -> float:
    """The most memory that a process has had in RAM so far, in MB; 0 if it has ended."""
    try:
        status = Path(f"/proc/{process.pid}/status").read_text()
    except OSError:
        return 0.0
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(found[1]) / 1024 if found else 0.0
