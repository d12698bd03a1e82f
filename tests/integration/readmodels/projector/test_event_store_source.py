"""What feeds ask of the event store, with system events at its end."""

from __future__ import annotations

from contextlib import closing
from itertools import takewhile
from typing import Any

import pytest
from esdbclient import EventStoreDBClient
from esdbclient.exceptions import DeadlineExceeded

from lepret.common.event_store_client import event_store_client
from readmodels.projector.feeds import EventStoreSource
from tests.support.event_store import RunningEventStore
from tests.support.loans import append_event

pytestmark = pytest.mark.usefixtures("streams")

SYSTEM_EVENTS = 300


class LateClient(EventStoreDBClient):
    """Of a store that has to search for too long for what is no system event."""

    def get_commit_position(self, **options: Any) -> int:
        if "filter_exclude" not in options:
            raise DeadlineExceeded
        return super().get_commit_position(**options)


def test_system_events_are_neither_last_nor_after_a_position() -> None:
    source = EventStoreSource(event_store_client)
    before, last = append_event("SomethingHappened"), append_event("SomethingHappened")
    append_event("$metadata-like", times=SYSTEM_EVENTS)
    assert source.last_position() == last
    assert source.has_event_after(before)
    assert not source.has_event_after(last)
    assert not source.has_event_after(last + SYSTEM_EVENTS)


def test_so_many_that_no_other_is_found_are_no_outage(event_store: RunningEventStore) -> None:
    last = append_event("SomethingHappened")
    append_event("$metadata-like", times=SYSTEM_EVENTS)
    with closing(LateClient(event_store.uri)) as client:
        assert EventStoreSource(lambda: client).last_position() == last + SYSTEM_EVENTS


def test_a_subscription_says_how_far_the_store_was_searched() -> None:
    before, last = append_event("SomethingHappened"), append_event("SomethingHappened")
    append_event("$metadata-like", times=SYSTEM_EVENTS)
    with EventStoreSource(event_store_client).subscribe(before) as subscription:  # type: ignore[attr-defined]
        received = list(takewhile(lambda each: not each.is_caught_up, subscription))
    events = [each.commit_position for each in received if not each.is_checkpoint]
    checkpoints = [each.commit_position for each in received if each.is_checkpoint]
    assert events == [last]
    assert max(checkpoints) > last
