"""Reads of all events, which fail only once their events are taken."""

from __future__ import annotations

import pytest
from esdbclient.exceptions import ServiceUnavailable

from lepret.common.event_store_client import event_store_client
from lepret.common.event_store_connection import SharedClient
from tests.support.event_store import RunningEventStore
from tests.support.processes import PATIENCE


def test_one_that_fails_is_followed_by_one_over_a_new_connection(
    event_store: RunningEventStore,
) -> None:
    client = event_store_client()
    assert isinstance(client, SharedClient)
    list(client.read_all(limit=1, timeout=PATIENCE))
    event_store.stop()
    for _ in range(20):
        broken = client.connection
        with pytest.raises(ServiceUnavailable):
            list(client.read_all(limit=1, timeout=PATIENCE))
        assert client.connection is not broken
    event_store.restart()
    list(client.read_all(limit=1, timeout=PATIENCE))


def test_one_whose_connection_another_thread_has_just_closed_says_that_the_store_is_away(
    event_store: RunningEventStore,
) -> None:
    client = event_store_client()
    client.connection.close()
    with pytest.raises(ServiceUnavailable):
        client.read_all(limit=1, timeout=PATIENCE)
