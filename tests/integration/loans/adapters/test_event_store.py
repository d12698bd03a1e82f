"""`EventStoreDB`, with the embedded event store and with a real one."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from esdbclient import NewEvent, StreamState

from lepret.common.event_store_connection import SharedClient
from loans.adapters.codec import is_scored_at_once, loan_request_stream, reservation_stream
from loans.adapters.event_store import (
    EventStoreDB,
    EventStoreUnavailable,
    NewerVersionNeeded,
    StaleRevision,
    Stream,
    StreamGone,
)
from loans.domain.events import (
    AutoApproved,
    AutoDenied,
    CreditChecked,
    LoanEvent,
    LoanRequested,
    ReservationReleased,
    ReservationTaken,
)
from tests.support.eventstoredb import KINDS, event_store_of_kind
from tests.support.lost_streams import WAYS, delete, set_metadata, tombstone, truncate
from tests.support.processes import free_port

AT = datetime(2026, 11, 23, tzinfo=UTC)


@pytest.fixture(scope="module", params=KINDS)
def client(request: pytest.FixtureRequest) -> Iterator[SharedClient]:
    with event_store_of_kind(request) as uri, closing(SharedClient(uri)) as client:
        yield client


@pytest.fixture
def store(client: SharedClient) -> EventStoreDB:
    return EventStoreDB(lambda: client, timeout=5)


def checked(loan_request_id: UUID, score: int = 5) -> CreditChecked:
    return CreditChecked(id=loan_request_id, occurred_at=AT, credit_score=score)


def requested(loan_request_id: UUID) -> LoanRequested:
    return LoanRequested(
        id=loan_request_id, occurred_at=AT, name="Zoë", national_id="123456aa", amount=5000
    )


def append(store: EventStoreDB, *events: LoanEvent, revision: int | None, command: UUID) -> int:
    return store.append(
        loan_request_stream(events[0].id),
        events,
        revision=revision,
        command_id=command,
        user="applicant",
    )


def test_a_stream_that_does_not_exist_is_empty(store: EventStoreDB) -> None:
    assert store.load(loan_request_stream(uuid4())) == Stream()


def test_what_was_appended_is_loaded_with_its_revision_and_position(store: EventStoreDB) -> None:
    request, command = uuid4(), uuid4()
    events = (checked(request), AutoApproved(id=request, occurred_at=AT))

    position = append(store, *events, revision=None, command=command)

    stream = store.load(loan_request_stream(request))
    assert (stream.events, stream.revision, stream.position) == (events, 1, position)
    assert [each.revision for each in stream.recorded] == [0, 1]
    assert [each.command_id for each in stream.recorded] == [command] * 2
    assert stream.recorded[-1].position == position


def test_as_left_by_ends_with_the_commands_last_event(store: EventStoreDB) -> None:
    request, command = uuid4(), uuid4()
    position = append(store, checked(request), revision=None, command=command)
    append(store, AutoDenied(id=request, occurred_at=AT), revision=0, command=uuid4())

    stream = store.load(loan_request_stream(request))

    before = stream.as_left_by(command)
    assert (before.events, before.revision, before.position) == ((checked(request),), 0, position)
    assert stream.as_left_by(uuid4()) == stream


def test_metadata_names_correlation_cause_user_and_version(
    store: EventStoreDB, client: SharedClient
) -> None:
    request, command = uuid4(), uuid4()
    append(store, checked(request), revision=None, command=command)

    recorded = client.get_stream(f"LoanRequest:{request}")[0]

    assert json.loads(recorded.metadata) == {
        "$correlationId": str(request),
        "$causationId": str(command),
        "user": "applicant",
        "schemaVersion": 2,
    }


def test_an_application_that_is_recorded_with_its_score_says_so(
    store: EventStoreDB, client: SharedClient
) -> None:
    scored, unscored = uuid4(), uuid4()
    append(store, requested(scored), checked(scored), revision=None, command=uuid4())
    append(store, requested(unscored), revision=None, command=uuid4())

    assert all(map(is_scored_at_once, client.get_stream(f"LoanRequest:{scored}")))
    assert not is_scored_at_once(client.get_stream(f"LoanRequest:{unscored}")[0])


def test_the_same_command_again_is_recorded_once_and_answered_the_same(
    store: EventStoreDB,
) -> None:
    request, command = uuid4(), uuid4()
    first = append(store, checked(request), revision=None, command=command)
    again = append(store, checked(request), revision=None, command=command)
    assert again == first
    assert len(store.load(loan_request_stream(request)).events) == 1


@pytest.mark.parametrize("revision", [None, 0, 7])
def test_a_revision_that_is_not_the_last_is_stale(
    store: EventStoreDB, revision: int | None
) -> None:
    request = uuid4()
    append(store, checked(request), revision=None, command=uuid4())
    append(store, AutoDenied(id=request, occurred_at=AT), revision=0, command=uuid4())
    with pytest.raises(StaleRevision):
        append(store, checked(request, 6), revision=revision, command=uuid4())
    assert len(store.load(loan_request_stream(request)).events) == 2


def test_event_types_of_others_count_but_are_left_out(
    store: EventStoreDB, client: SharedClient
) -> None:
    request = uuid4()
    append(store, checked(request), revision=None, command=uuid4())
    client.append_to_stream(
        f"LoanRequest:{request}",
        current_version=StreamState.ANY,
        events=[NewEvent(type="LoanPaidBack", data=b"{}")],
    )
    stream = store.load(loan_request_stream(request))
    assert stream.events == (checked(request),)
    assert stream.revision == 1


@pytest.mark.parametrize(
    ("event_type", "version"), [("LoanPaidBack", 1), ("CreditChecked", 3)], ids=str
)
def test_a_stream_that_a_newer_version_has_appended_to_cannot_be_decided_on(
    store: EventStoreDB, client: SharedClient, event_type: str, version: int
) -> None:
    request = uuid4()
    append(store, checked(request), revision=None, command=uuid4())
    metadata = json.dumps({"schemaVersion": version}).encode()
    client.append_to_stream(
        f"LoanRequest:{request}",
        current_version=StreamState.ANY,
        events=[NewEvent(type=event_type, data=b"{}", metadata=metadata)],
    )
    with pytest.raises(NewerVersionNeeded):
        store.load(loan_request_stream(request))


def test_a_server_that_is_down_is_an_error_within_the_timeout() -> None:
    client = SharedClient(f"esdb://127.0.0.1:{free_port()}?tls=false")
    store, began = EventStoreDB(lambda: client, timeout=2), time.monotonic()
    with pytest.raises(EventStoreUnavailable):
        store.load(loan_request_stream(uuid4()))
    with pytest.raises(EventStoreUnavailable):
        append(store, checked(uuid4()), revision=None, command=uuid4())
    assert time.monotonic() - began < 30
    client.close()


def request_of_three_events(store: EventStoreDB) -> UUID:
    request = uuid4()
    denied = AutoDenied(id=request, occurred_at=AT)
    events: list[LoanEvent] = [checked(request), denied, checked(request)]
    for revision, event in enumerate(events):
        append(store, event, revision=revision - 1 if revision else None, command=uuid4())
    return request


def test_a_stream_is_loaded_beside_one_that_is_assumed_to_be_new(store: EventStoreDB) -> None:
    new = loan_request_stream(uuid4())
    assert store.load_beside(loan_request_stream(uuid4()), new) == (Stream(), Stream())
    there = loan_request_stream(request_of_three_events(store))
    assert store.load_beside(there, new) == (store.load(there), Stream())
    # It is not looked whether that one has events.
    assert store.load_beside(new, there) == (Stream(), Stream())


class TestAStreamThatAnOperatorHasDeletedOrTruncated:
    @pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
    def test_is_gone(self, store: EventStoreDB, client: SharedClient, way: Any) -> None:
        stream = loan_request_stream(request_of_three_events(store))
        way(client, stream.name)
        with pytest.raises(StreamGone):
            store.load(stream)

    @pytest.mark.parametrize("way", [tombstone, delete])
    def test_is_not_taken_for_a_new_one(
        self, store: EventStoreDB, client: SharedClient, way: Any
    ) -> None:
        stream = loan_request_stream(request_of_three_events(store))
        way(client, stream.name)
        with pytest.raises(StreamGone):
            store.assume_new(stream)

    @pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
    def test_is_gone_too_where_another_is_asked_for_beside_it(
        self, store: EventStoreDB, client: SharedClient, way: Any
    ) -> None:
        stream = loan_request_stream(request_of_three_events(store))
        way(client, stream.name)
        with pytest.raises(StreamGone):
            store.load_beside(stream, loan_request_stream(uuid4()))

    @pytest.mark.parametrize("way", [tombstone, delete])
    def test_does_not_keep_another_from_being_loaded(
        self, store: EventStoreDB, client: SharedClient, way: Any
    ) -> None:
        gone = loan_request_stream(request_of_three_events(store))
        way(client, gone.name)
        for stream in map(loan_request_stream, (uuid4(), request_of_three_events(store))):
            assert store.load_beside(stream, gone) == (store.load(stream), None)

    def test_takes_no_events_once_it_has_a_tombstone(
        self, store: EventStoreDB, client: SharedClient
    ) -> None:
        request = request_of_three_events(store)
        tombstone(client, loan_request_stream(request).name)
        with pytest.raises(StreamGone):
            append(store, checked(request), revision=2, command=uuid4())

    def test_is_whole_again_once_its_metadata_are_set_back(
        self, store: EventStoreDB, client: SharedClient
    ) -> None:
        stream = loan_request_stream(request_of_three_events(store))
        delete(client, stream.name)
        # Of a deleted stream, EventStoreDB hides the events once more when that is done.
        for _ in range(2):
            set_metadata(client, stream.name, {})
        assert len(store.load(stream).events) == 3

    @pytest.mark.parametrize(
        "metadata", [{"$maxCount": 3}, {"$maxAge": 3600}, {"$tb": 0}, {"a": 1}]
    )
    def test_is_whole_as_long_as_its_first_event_is_there(
        self, store: EventStoreDB, client: SharedClient, metadata: dict[str, int]
    ) -> None:
        stream = loan_request_stream(request_of_three_events(store))
        set_metadata(client, stream.name, metadata)
        assert len(store.load(stream).events) == 3
        assert store.assume_new(loan_request_stream(uuid4())) == Stream()

    def test_says_enough_with_its_last_event_if_it_is_a_reservation(
        self, store: EventStoreDB, client: SharedClient
    ) -> None:
        request, stream = uuid4(), reservation_stream(f"Reservation:{uuid4().hex * 2}")
        events = (
            ReservationTaken(id=request, occurred_at=AT, covers=None),
            ReservationReleased(id=request, occurred_at=AT),
        )
        store.append(stream, events, revision=None, command_id=uuid4(), user="reservations")
        truncate(client, stream.name)
        assert store.load(stream).events == events[1:]
