"""What people see of an event store that reads, but cannot write."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

from tests.integration.lepret.outages.conftest import System
from tests.support.event_store import needs_the_embedded_store
from tests.support.processes import wait_until


@contextmanager
def full_disk(system: System) -> Iterator[None]:
    """The event store can make no file longer during the block, nor write what is in the WAL."""
    needs_the_embedded_store("this limits the size of its file")
    (pid,), limit = system.event_store.pids, resource.RLIMIT_FSIZE
    before = resource.prlimit(pid, limit)
    resource.prlimit(pid, limit, (1, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, limit, before)


def event_store_check(system: System) -> str:
    """What `/readyz` says of the event store."""
    return str(system.web.get("/readyz").json()["checks"]["event_store"])


def apply(system: System, loan_request_id: str) -> int:
    """Send the same application, always with this id; returns the answer's status."""
    body = {"id": loan_request_id, "name": "Ada", "national_id": NATIONAL_ID, "amount": 500}
    return system.ask("POST", "/api/loan-requests", json=body).status_code


NATIONAL_ID = f"{uuid4().int % 10**6:06}aa"


def test_a_full_disk_is_seen_by_the_applicant_and_in_readyz_and_is_over_by_itself(
    system: System,
) -> None:
    wait_until(lambda: event_store_check(system) == "ok")
    loan = str(uuid4())
    with full_disk(system):
        assert apply(system, loan) == 503
        wait_until(lambda: event_store_check(system) == "unavailable")
        assert system.web.get("/readyz").status_code == 503
    wait_until(lambda: event_store_check(system) == "ok")
    assert apply(system, loan) == 201
    assert apply(system, loan) == 201, "it is recorded once, and answered as before"
