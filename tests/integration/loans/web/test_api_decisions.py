"""Decisions in the API: by the token's user, once, and on the revision that was shown."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest

from lepret.common.event_store_client import event_store_client
from loans.adapters.codec import decode, stream_name
from loans.domain.events import LoanEvent, ManuallyApproved, ManuallyDenied
from tests.support.api import Caller, underwriters_tool
from tests.support.loans import append_approval, append_requested_loan

pytestmark = [pytest.mark.usefixtures("streams"), pytest.mark.django_db]

# The ETag of a request that is under review, after its three events.
SHOWN = '"2"'


@pytest.fixture
def tool() -> Caller:
    return underwriters_tool("ulla")


@pytest.fixture
def loan() -> UUID:
    """A request that is under review."""
    return append_requested_loan(score=5).loan_request_id


def last_event(loan: UUID) -> LoanEvent | None:
    last = event_store_client().get_stream(stream_name(loan))[-1]
    return decode(last.type, last.data, last.metadata)


def assert_is_problem(response: Any, status: int) -> None:
    assert response.status_code == status
    assert response["Content-Type"] == "application/problem+json"


def test_an_approval_is_recorded_as_the_tokens_users(tool: Caller, loan: UUID) -> None:
    response = tool.approve(loan, SHOWN, note="a good customer")

    answer = response.json()
    assert response.status_code == 200
    assert response["ETag"] == '"3"'
    assert (answer["id"], answer["status"]) == (str(loan), "approved")
    assert answer["position"] > 0
    event = last_event(loan)
    assert isinstance(event, ManuallyApproved)
    assert (event.decided_by, event.note) == ("ulla", "a good customer")


def test_a_denial_is_recorded_with_its_reasons(tool: Caller, loan: UUID) -> None:
    reasons = ["too_much_debt", "income_too_low"]
    response = tool.deny(loan, SHOWN, reasons, note="three loans run")
    assert (response.status_code, response.json()["status"]) == (200, "denied")
    event = last_event(loan)
    assert isinstance(event, ManuallyDenied)
    assert (event.decided_by, event.reasons) == ("ulla", tuple(reasons))


def test_one_reason_may_still_be_given_alone(tool: Caller, loan: UUID) -> None:
    path, condition = f"/loan-requests/{loan}/deny", {"If-Match": SHOWN}
    first = tool.post(path, {"reason": "other", "reason_text": "You have moved."}, **condition)
    assert first.json()["reasons"] == [{"code": "other", "text": "You have moved."}]
    again = tool.post(path, {"reasons": ["other"], "reason_text": "You have moved."}, **condition)
    assert (again.status_code, again.json()) == (200, first.json())


def test_the_note_may_be_left_out(tool: Caller, loan: UUID) -> None:
    path, condition = f"/loan-requests/{loan}/approve", {"If-Match": SHOWN}
    assert tool.post(path, {}, **condition).status_code == 200


def test_sent_again_it_is_answered_as_the_first_time(tool: Caller, loan: UUID) -> None:
    first, again = (tool.approve(loan, SHOWN, note="good") for _ in range(2))
    assert again.status_code == 200
    assert (again.json(), again["ETag"]) == (first.json(), first["ETag"])


class TestIfMatch:
    @pytest.mark.parametrize("etag", ['"2"', "*", ' "2" '])
    def test_the_current_tag_is_accepted(self, tool: Caller, loan: UUID, etag: str) -> None:
        assert tool.approve(loan, etag).status_code == 200

    @pytest.mark.parametrize("etag", ['"1"', '"3"', f'"{"9" * 18}"'])
    def test_another_tag_is_refused_with_the_current_one(
        self, tool: Caller, loan: UUID, etag: str
    ) -> None:
        response = tool.deny(loan, etag)
        assert_is_problem(response, 412)
        assert response["ETag"] == SHOWN
        assert "has changed since it was shown" in response.json()["detail"]
        assert tool.deny(loan, response["ETag"]).status_code == 200

    def test_a_decided_request_is_a_conflict_that_says_who_and_when(
        self, tool: Caller, loan: UUID
    ) -> None:
        append_approval(loan)
        for etag in (SHOWN, "*", '"3"'):
            response = tool.deny(loan, etag)
            assert_is_problem(response, 409)
            assert "Already approved by uma on" in response.json()["detail"]

    def test_it_is_required(self, tool: Caller, loan: UUID) -> None:
        response = tool.post(f"/loan-requests/{loan}/approve", {})
        assert_is_problem(response, 428)
        assert "If-Match" in response.json()["detail"]

    @pytest.mark.parametrize(
        "etag", ["", "2", '"2', 'W/"2"', '"two"', '"2", "3"', '"02"', '"-1"', f'"{"9" * 19}"', "**"]
    )
    def test_an_invalid_tag_is_refused(self, tool: Caller, loan: UUID, etag: str) -> None:
        response = tool.approve(loan, etag)
        assert_is_problem(response, 422)
        assert [each["field"] for each in response.json()["errors"]] == ["If-Match"]
        assert tool.approve(loan, SHOWN).status_code == 200


def test_an_unknown_request_is_404(tool: Caller) -> None:
    assert_is_problem(tool.approve(uuid4()), 404)
    assert_is_problem(tool.deny(uuid4(), '"0"'), 404)


@pytest.mark.parametrize("score", [9, None])
def test_a_request_that_is_not_under_review_is_a_conflict(tool: Caller, score: int | None) -> None:
    loan = append_requested_loan(score=score).loan_request_id
    assert_is_problem(tool.approve(loan), 409)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "reasons"),
        ({"reasons": []}, "reasons"),
        ({"reasons": None}, "reasons"),
        ({"reasons": "other"}, "reasons"),
        ({"reasons": ["a whim"]}, "reasons"),
        ({"reasons": ["no_such_reason"]}, "reasons"),
        ({"reasons": ["other", "other"]}, "reasons"),
        ({"reasons": ["one", "two", "three", "four", "five"]}, "reasons"),
        ({"reasons": ["a whim"] * 1_000}, "reasons"),
        ({"reason": "a whim"}, "reason"),
        ({"reason": "a whim", "reason_text": "In more words."}, "reason"),
        ({"reason": ["other"]}, "reason"),
        ({"reason": "no_such_reason"}, "reasons"),
        ({"reason": "other", "reasons": ["other"]}, "reasons"),
        ({"reason": "other", "reasons": []}, "reasons"),
        ({"reasons": ["too_much_debt"], "reason_text": "You owe too much."}, "reason_text"),
        ({"reasons": ["other"], "reason_text": "too short"}, "reason_text"),
        ({"reasons": ["other"], "reason_text": "x" * 201}, "reason_text"),
        ({"reasons": ["other"], "reason_text": None}, "reason_text"),
        ({"reasons": ["other"], "note": "x" * 501}, "note"),
        ({"reasons": ["other"], "note": "\u0000"}, "note"),
        ({"reasons": ["other"], "decided_by": "root"}, "decided_by"),
    ],
    ids=lambda each: str(each)[:60],
)
def test_a_body_that_cannot_be_used_names_the_field(
    tool: Caller, loan: UUID, body: dict[str, object], field: str
) -> None:
    response = tool.post(f"/loan-requests/{loan}/deny", body, **{"If-Match": SHOWN})
    assert_is_problem(response, 422)
    assert [each["field"] for each in response.json()["errors"]] == [field]


@pytest.mark.usefixtures("no_event_store")
def test_without_the_event_store_it_says_when_to_try_again(tool: Caller) -> None:
    response = tool.approve(uuid4())
    assert_is_problem(response, 503)
    assert int(response["Retry-After"]) > 0
