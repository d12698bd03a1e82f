"""How long people wait while the event store hangs: what is documented, measured at the caller."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from uuid import uuid4

import pytest
from django.conf import settings
from esdbclient.exceptions import DiscoveryFailed

from lepret.common.event_store_connection import SharedClient
from tests.integration.lepret.outages.conftest import System

# The machine may be slow, but what is added up would take much longer.
FACTOR = 4


def application() -> dict[str, object]:
    return {"name": "Ada", "national_id": f"{uuid4().int % 10**6:06}aa", "amount": 500}


def test_no_answer_waits_longer_than_documented(system: System) -> None:
    key = {"Idempotency-Key": str(uuid4())}
    requests = [
        ("POST", "/api/loan-requests", {"json": application()}),
        ("POST", "/api/loan-requests", {"json": application(), "headers": key}),
        ("GET", f"/api/loan-requests/{uuid4()}", {}),
        ("GET", f"/api/loan-requests/{uuid4()}?after=999999", {}),
    ]
    with system.event_store.frozen(), ThreadPoolExecutor(len(requests)) as executor:
        began = time.monotonic()
        answers = executor.map(lambda each: system.ask(each[0], each[1], **each[2]), requests)
        assert [each.status_code for each in answers] == [503] * len(requests)
        assert time.monotonic() - began < FACTOR * settings.EVENTSTORE_TIMEOUT_SECONDS
        # The page says *Received* until this is known.
        assert system.get(f"/loans/{uuid4()}/").status_code == 200


def test_a_node_of_a_cluster_that_hangs_is_not_asked_again_and_again(system: System) -> None:
    node = f"127.0.0.1:{system.event_store.port}"
    with system.event_store.frozen():
        began = time.monotonic()
        with (
            closing(SharedClient(f"esdb://{node},{node},{node}?tls=false")) as client,
            pytest.raises(DiscoveryFailed),
        ):
            client.get_commit_position(timeout=5)
        # esdbclient: 5 s for each of three nodes, ten times.
        assert time.monotonic() - began < 50
