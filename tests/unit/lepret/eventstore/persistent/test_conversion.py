"""Converting stored events to a group's messages, and these to responses."""

from __future__ import annotations

from uuid import uuid4

import pytest
from esdbclient.protos.Grpc import persistent_pb2

from lepret.eventstore.messages import event_response, resolved_link
from lepret.eventstore.persistent.conversion import delivery, to_deliver, to_replay
from lepret.eventstore.storage.records import Record
from lepret.eventstore.writes import ProposedEvent

EVENT_ID, LINK_ID = uuid4(), uuid4()


def _event(metadata: bytes = b"") -> Record:
    event = ProposedEvent(EVENT_ID, "Tested", True, b"{}", metadata)
    return Record(70, "orders", 3, "Tested", event_response(event, "orders", 3, 70, 1))


def _link() -> Record:
    event = ProposedEvent(LINK_ID, "$>", False, b"3@orders", b"")
    return Record(80, "links", 5, "$>", event_response(event, "links", 5, 80, 1))


def _resolved(event: Record | None) -> Record:
    link = _link()
    return link._replace(response=resolved_link(link.response, event and event.response))


def test_an_event() -> None:
    message = to_deliver(_event(), 3, "Pinned")
    assert (message.id, message.number, message.position) == (EVENT_ID, 3, 70)
    assert (message.pin, message.link) == ("orders", b"3@orders")


def test_a_resolved_link_has_its_own_id_and_its_events_pin() -> None:
    message = to_deliver(_resolved(_event()), 5, "Pinned")
    assert (message.id, message.number, message.position) == (LINK_ID, 5, 80)
    assert (message.pin, message.link) == ("orders", b"3@orders")


def test_an_unresolved_link_is_an_event() -> None:
    message = to_deliver(_link(), 5, "Pinned")
    assert (message.id, message.pin, message.link) == (LINK_ID, "orders", b"5@links")


def test_a_broken_link_has_the_pin_and_target_of_its_event() -> None:
    message = to_deliver(_resolved(None), 5, "Pinned")
    assert (message.id, message.pin, message.link) == (LINK_ID, "orders", b"3@orders")


@pytest.mark.parametrize(
    ("metadata", "pin"),
    [
        (b'{"$correlationId": "c"}', "c"),
        (b'{"$correlationId": 7}', "orders"),
        (b'["$correlationId"]', "orders"),
        (b"\xff{", "orders"),
        (b"", "orders"),
    ],
)
def test_the_correlation_id_is_the_pin_on_request(metadata: bytes, pin: str) -> None:
    assert to_deliver(_event(metadata), 3, "PinnedByCorrelation").pin == pin
    assert to_deliver(_event(metadata), 3, "Pinned").pin == "orders"


def test_a_replay_has_its_revision_in_the_parked_stream() -> None:
    message = to_replay(_resolved(_event()), "RoundRobin")
    assert message is not None
    assert (message.replayed, message.number, message.id) == (True, 5, LINK_ID)


def test_a_parked_event_that_is_gone_is_not_replayed() -> None:
    assert to_replay(_resolved(None), "RoundRobin") is None


def test_a_delivery_is_the_stored_event_and_a_retry_count() -> None:
    record = _event(b"{}")
    response = persistent_pb2.ReadResp.FromString(
        delivery(record.response, 2, structured_ids=False)
    )
    assert response.event.retry_count == 2
    response.event.ClearField("retry_count")
    assert response == persistent_pb2.ReadResp.FromString(record.response)
    assert response.event.event.id.string == str(EVENT_ID)


def test_ids_are_structured_on_request() -> None:
    response = delivery(_resolved(_event()).response, 0, structured_ids=True)
    event = persistent_pb2.ReadResp.FromString(response).event
    for part in (event.event, event.link):
        assert part.id.WhichOneof("value") == "structured"
