"""What people see of a request whose stream an operator has deleted or truncated."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from lepret.common.event_store_client import event_store_client
from loans.adapters.codec import loss_stream, stream_name
from loans.application.idempotency import IdempotencyKey
from loans.dependencies import event_store, idempotency_keys, reservations
from loans.domain.events import LoanRequestGone, ReservationTaken
from tests.support.api import Caller, application, underwriters_tool
from tests.support.lost_streams import OF_ALL_EVENTS, WAYS, Way, revisions_left, tombstone
from tests.support.staff import make_underwriter

pytestmark = [pytest.mark.usefixtures("streams"), pytest.mark.django_db]

HTMX = {"HX-Request": "true"}
each_way = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
each_outcome = pytest.mark.parametrize("score", [1, 5, 9], ids=["denied", "to review", "approved"])


@pytest.fixture
def tool() -> Caller:
    return underwriters_tool("ulla")


def lose(way: Way, body: dict[str, Any]) -> list[int]:
    """Delete or truncate the stream of a request; returns the revisions that are left."""
    name = stream_name(body["id"])
    way(event_store_client(), name)
    return revisions_left(event_store_client(), name)


def is_noted(body: dict[str, Any]) -> bool:
    stream = event_store().load(loss_stream(body["id"]))
    return [type(each) for each in stream.events] == [LoanRequestGone]


def assert_gone(response: Any, words: str = "was deleted or cut short") -> None:
    assert response.status_code == 410, response.content
    assert response["Content-Type"] == "application/problem+json"
    assert words in response.json()["detail"]


@each_way
@each_outcome
def test_it_is_gone_for_machines_and_its_applicant_may_apply_again(
    tool: Caller, way: Way, score: int
) -> None:
    body = application(score=score)
    assert tool.apply(body).status_code == 201
    left = lose(way, body)

    assert_gone(tool.approve(body["id"]))
    assert_gone(tool.deny(body["id"]))
    assert_gone(tool.apply(body))
    assert_gone(tool.get(f"/loan-requests/{body['id']}"))
    assert revisions_left(event_store_client(), stream_name(body["id"])) == left
    assert is_noted(body)
    assert tool.apply({**body, "id": str(uuid4())}).status_code == 201


@each_way
def test_it_cannot_be_decided_on_the_page(client: Client, way: Way) -> None:
    client.force_login(make_underwriter())
    body = application(score=5)
    client.post("/", {**body, "address": ""})
    lose(way, body)

    page = f"/underwriting/{body['id']}"
    for response in (
        client.post(f"{page}/approve/", {"shown_revision": "2"}, headers=HTMX),
        client.get(f"{page}/deny/", headers=HTMX),
        client.post(f"{page}/deny/", {"shown_revision": "2", "reasons": "other"}, headers=HTMX),
    ):
        assert response.status_code == 409
        assert "was deleted or cut short" in response.content.decode()
    assert client.get(f"/loans/{body['id']}/").status_code == 410


@each_way
def test_the_form_that_was_sent_asks_whether_to_apply_once_more(client: Client, way: Way) -> None:
    body = {**application(score=5), "address": ""}
    client.post("/", body)
    lose(way, body)

    again = client.post("/", body)

    assert again.status_code == 409
    assert "the record of that request was deleted" in again.content.decode()
    once_more = {field.name: field.value() for field in again.context["form"]}
    assert client.post("/", once_more).status_code == 302


@pytest.mark.parametrize("way", OF_ALL_EVENTS.values(), ids=OF_ALL_EVENTS)
def test_without_its_reservation_nobody_can_apply_beside_an_open_request(
    tool: Caller, way: Way
) -> None:
    body = application(score=5)
    tool.apply(body)
    way(event_store_client(), reservations().stream_of(body["national_id"]).name)

    refused = tool.apply({**body, "id": str(uuid4())})

    assert refused.status_code == 409
    assert "Please contact us" in refused.json()["detail"]
    assert tool.approve(body["id"]).status_code == 200


def test_without_the_beginning_of_a_reservation_nothing_changes(tool: Caller) -> None:
    first, second = (application(score=5) for _ in range(2))
    second["national_id"] = first["national_id"]
    tool.apply(first)
    tool.approve(first["id"])
    tool.apply(second)
    name = reservations().stream_of(first["national_id"]).name
    WAYS["cut to its last event"](event_store_client(), name)

    assert tool.apply({**first, "id": str(uuid4())}).status_code == 409
    tool.approve(second["id"])
    assert tool.apply({**first, "id": str(uuid4())}).status_code == 201


def test_a_reservation_for_a_request_that_is_gone_keeps_nobody_out(tool: Caller) -> None:
    body = application(score=5)
    held = ReservationTaken(id=uuid4(), occurred_at=timezone.now(), covers=None)
    stream = reservations().stream_of(body["national_id"])
    event_store().append(stream, [held], revision=None, command_id=uuid4(), user="a test")
    tombstone(event_store_client(), stream_name(held.id))
    assert tool.apply(body).status_code == 201


@pytest.mark.parametrize("way", OF_ALL_EVENTS.values(), ids=OF_ALL_EVENTS)
def test_without_the_record_of_its_key_a_call_is_carried_out_once_or_refused(
    tool: Caller, way: Way
) -> None:
    body = application(score=9)
    del body["id"]
    # Other tests on the same store have users with the same number.
    value = str(uuid4())
    first = tool.apply(body, **{"Idempotency-Key": value})
    key = IdempotencyKey(f"user {User.objects.get(username='ulla').pk}", value)
    request = idempotency_keys().loan_request_id(key)
    assert str(request) == first.json()["id"]
    way(event_store_client(), idempotency_keys().stream_of(key).name)

    again = tool.apply(body, **{"Idempotency-Key": value})

    if way is tombstone:
        assert again.status_code == 422
        assert "record of this key was deleted" in again.json()["errors"][0]["message"]
    else:
        assert (again.status_code, again.json()) == (201, first.json())
    assert revisions_left(event_store_client(), stream_name(request)) == [0, 1, 2]
