"""Which event stores a demo takes for its own."""

from __future__ import annotations

import pytest

from lepret.demo.event_store import EventStoreRefused, refuse_others_event_store
from tests.support.event_store import RunningEventStore
from tests.support.loans import append_event
from tests.support.processes import free_port

VARIABLE = "EVENTSTORE_URI"


def test_an_empty_one_is_taken_and_taken_again(event_store: RunningEventStore) -> None:
    refuse_others_event_store(VARIABLE, event_store.uri)
    append_event("LoanRequested")
    refuse_others_event_store(VARIABLE, event_store.uri)


def test_its_own_is_taken_and_by_other_demos_from_then_on(event_store: RunningEventStore) -> None:
    append_event("LoanRequested")
    refuse_others_event_store(VARIABLE, event_store.uri, is_own=True)
    refuse_others_event_store(VARIABLE, event_store.uri)


def test_one_that_others_use_is_refused_and_left_as_it_was(event_store: RunningEventStore) -> None:
    append_event("LoanRequested")
    for _ in range(2):
        with pytest.raises(EventStoreRefused, match=r"^EVENTSTORE_URI names .* not a demo's"):
            refuse_others_event_store(VARIABLE, event_store.uri)


def test_one_that_does_not_answer_is_refused_without_its_password() -> None:
    uri = f"esdb://me:hidden@127.0.0.1:{free_port()}?tls=false"
    with pytest.raises(EventStoreRefused, match=r"^EVENTSTORE_URI: the event store") as refused:
        refuse_others_event_store(VARIABLE, uri)
    assert "hidden" not in str(refused.value)
