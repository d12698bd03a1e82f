"""The history of a loan request in the back office, whatever is in its stream."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.test import Client
from django.urls import reverse
from esdbclient import NewEvent, StreamState

from lepret.common.event_store_client import event_store_client
from loans.adapters.codec import stream_name
from readmodels.models import LoanRequest
from readmodels.pages import event_history
from readmodels.pages.event_history import HistoryGone, history_of, is_recorded
from tests.support.known_policies import known
from tests.support.loans import AT, append_requested_loan
from tests.support.lost_streams import WAYS, Way
from tests.support.staff import make_clerk

pytestmark = [pytest.mark.usefixtures("streams"), pytest.mark.django_db]

OTHERS = "LoanPaidBack"
NESTED = b'{"a": ' + b"[" * 900 + b"]" * 900 + b"}"
DEEP = b"[" * 60_000


def page_of(loan: UUID) -> str:
    client = Client()
    client.force_login(make_clerk())
    LoanRequest.objects.create(id=loan, name="Ann Example", amount=5000, requested_at=AT)
    response = client.get(reverse("admin:readmodels_loanrequest_change", args=[loan]))
    assert response.status_code == 200
    return response.content.decode()


def append(loan: UUID, *events: NewEvent) -> None:
    event_store_client().append_to_stream(
        stream_name(loan), current_version=StreamState.ANY, events=events
    )


def event(data: bytes, **changes: Any) -> NewEvent:
    return NewEvent(type=OTHERS, data=data, **changes)


@pytest.fixture
def loan() -> UUID:
    return append_requested_loan(5).loan_request_id


@pytest.mark.parametrize(
    ("odd", "problem"),
    [
        (event(b"{"), "1 bytes that are not JSON"),
        (event(b""), "0 bytes that are not JSON"),
        (event(b'{"a": 1} x'), "10 bytes that are not JSON"),
        (event(b"1" * 5000), "5,000 bytes that are not JSON"),
        (event(b'{"a": "\xff"}'), "10 bytes that are not UTF-8"),
        (event(b"[1]"), "3 bytes of JSON, but no object"),
        (event(b"null"), "4 bytes of JSON, but no object"),
        (event(DEEP), "60,000 bytes of JSON that is nested too deeply"),
        (event(b'{"a": "%s"}' % (b"x" * 70_000)), "70,009 bytes are too many to be shown"),
        (
            event(b"\x00\x01", content_type="application/octet-stream"),
            "2 bytes of application/octet-stream, not of JSON",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_event_that_cannot_be_read_is_shown_as_what_it_is_and_the_others_as_they_are(
    loan: UUID, odd: NewEvent, problem: str
) -> None:
    append(loan, odd)

    entries = history_of(loan).entries
    html = page_of(loan)

    assert [each.type for each in entries][2:] == ["ManualReviewRequired", OTHERS]
    assert entries[-1].problem == f"not readable: {problem}"
    assert entries[-1].recorded_at is not None
    assert f"not readable: {problem}" in html
    assert "name: Zoe Quillfeather" in html


@pytest.mark.parametrize(
    "data",
    [
        b'{"amount": true, "occurred_at": "0001-01-01T00:00:00+14:00"}',
        b'{"occurred_at": "9999-12-31T23:59:59-14:00", "amount": 1e999}',
        b'{"a": "\\ud800", "\\ud800": 1, "at": "2026-13-45T00:00:00Z"}',
        b'{"amount": "x", "reason": [1, {"b": null}], "id": 7}',
        b'{"amount": -12345678901234567890123}',
        b'{"a": "<script>alert(1)</script>"}',
        NESTED,
    ],
)
def test_an_event_of_another_schema_is_shown_as_it_is(loan: UUID, data: bytes) -> None:
    append(loan, NewEvent(type="ManuallyApproved", data=data), event(data))
    html = page_of(loan)
    assert "ManuallyApproved" in html
    assert "<script>alert" not in html
    assert "name: Zoe Quillfeather" in html


@pytest.mark.parametrize(
    "metadata", [b"{", b"\xff", b"[]", b'{"user": {"a": "\\ud800"}}', DEEP, b""]
)
def test_metadata_that_cannot_be_read_name_nobody(loan: UUID, metadata: bytes) -> None:
    append(loan, event(b'{"paid": 7}', metadata=metadata))
    assert "paid: 7" in page_of(loan)


def test_reasons_are_in_the_words_of_the_policy_that_their_event_names(loan: UUID) -> None:
    known(3)
    denied = {"reasons": ["too_much_debt", "too_young"], "scored_at": None, "together_with": []}
    data = {**denied, "policy": 3, "people": ["una", "uma"]}
    append(loan, NewEvent(type="ManuallyDenied", data=json.dumps(data).encode()))
    assert history_of(loan).entries[-1].data == {
        "reasons": "Debt, too_young",
        "scored_at": "-",
        "together_with": "-",
        "policy": "3",
        "people": "una, uma",
    }


@pytest.mark.parametrize("policy", [True, -1, 2**40, "3", None, [3], 7])
def test_a_policy_that_there_is_not_hides_no_reason(loan: UUID, policy: object) -> None:
    data = json.dumps({"policy": policy, "reasons": ["too_much_debt", {"a": 1}]}).encode()
    append(loan, NewEvent(type="ManuallyDenied", data=data))
    assert history_of(loan).entries[-1].data["reasons"] == "Too much debt, {'a': 1}"


def test_a_long_value_is_cut(loan: UUID) -> None:
    append(loan, event(json.dumps({"a": "x" * 10_000}).encode()))
    [value] = history_of(loan).entries[-1].data.values()
    assert value == "x" * 2_000 + "…"


def test_of_very_many_events_the_first_are_shown(
    loan: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_history, "MOST_ENTRIES", 4)
    append(loan, *(event(b"{}") for _ in range(3)))
    assert len(history_of(loan).entries) == 4
    assert "the first 4 events" in page_of(loan)


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_a_stream_that_was_deleted_or_truncated_is_said_to_be(loan: UUID, way: Way) -> None:
    way(event_store_client(), stream_name(loan))
    html = page_of(loan)
    assert "The record of this request was" in html
    assert "has no events" not in html
    with pytest.raises(HistoryGone):
        is_recorded(loan)


def test_of_a_request_that_never_was_there_is_nothing() -> None:
    assert "The event store has no events of this request." in page_of(uuid4())
