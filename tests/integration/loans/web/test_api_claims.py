"""Claims in the API: one holds a request, others are told who, and nobody has to claim."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final
from uuid import UUID, uuid4

import pytest
from django.utils import timezone
from esdbclient import StreamState

from lepret.common.event_store_client import event_store_client
from loans.adapters.codec import stream_name
from loans.dependencies import policies
from readmodels.models import PendingRequest
from tests.support.api import Caller, caller_for, underwriters_tool
from tests.support.loans import append_note, append_requested_loan
from tests.support.staff import make_clerk, make_lead, make_underwriter
from tests.support.workers import types_of

pytestmark = [pytest.mark.usefixtures("streams"), pytest.mark.django_db]

NOBODY: Final = (None, None)


@pytest.fixture
def loan() -> UUID:
    """A request that is under review."""
    return append_requested_loan(score=5).loan_request_id


@pytest.fixture
def uma() -> Caller:
    return underwriters_tool("uma")


@pytest.fixture
def ursula() -> Caller:
    return underwriters_tool("ursula")


@pytest.fixture
def lena() -> Caller:
    """A lead's tool."""
    return caller_for(make_lead("lena"))


def holder_in(response: Any) -> tuple[str | None, str | None]:
    assert response.status_code == 200, response.content
    answer = response.json()
    return answer["claimed_by"], answer["claimed_until"]


def problem_in(response: Any, status: int) -> str:
    assert response.status_code == status
    assert response["Content-Type"] == "application/problem+json"
    detail: str = response.json()["detail"]
    return detail


class TestClaim:
    def test_holds_it_for_the_policys_time(self, uma: Caller, loan: UUID) -> None:
        before = timezone.now()
        response = uma.claim(loan)
        by, until = holder_in(response)
        lease = policies().in_force(timezone.now()).policy.lease
        assert by == "uma"
        assert before + lease <= datetime.fromisoformat(str(until)) <= timezone.now() + lease
        assert response.json()["escalated"] is False
        assert response["ETag"] == '"3"'

    def test_sent_again_is_answered_as_the_first_time(self, uma: Caller, loan: UUID) -> None:
        assert uma.claim(loan).json() == uma.claim(loan).json()
        assert types_of(loan)[3:] == ["RequestClaimed"]

    def test_of_what_another_holds_says_who_and_until_when(
        self, uma: Caller, ursula: Caller, loan: UUID
    ) -> None:
        uma.claim(loan)
        assert "uma works on this loan request until" in problem_in(ursula.claim(loan), 409)

    def test_is_not_needed_to_decide(self, uma: Caller, loan: UUID) -> None:
        response = uma.approve(loan, '"2"')
        assert response.json()["status"] == "approved"
        assert holder_in(response) == NOBODY

    def test_keeps_others_from_deciding_until_it_is_released(
        self, uma: Caller, ursula: Caller, loan: UUID
    ) -> None:
        uma.claim(loan)
        for decide in (ursula.approve, ursula.deny):
            assert "uma works on" in problem_in(decide(loan), 409)
        assert holder_in(uma.release(loan)) == NOBODY
        assert ursula.deny(loan, '"2"').json()["status"] == "denied"

    def test_outdates_no_etag_and_a_note_does(self, uma: Caller, loan: UUID) -> None:
        uma.claim(loan)
        append_note(loan)
        assert uma.approve(loan, '"3"').status_code == 412
        uma.release(loan)
        assert uma.approve(loan, '"4"').status_code == 200

    def test_of_what_is_decided_is_refused(self, uma: Caller, loan: UUID) -> None:
        uma.approve(loan)
        for refused in (uma.claim(loan), uma.escalate(loan)):
            assert "Already approved by uma" in problem_in(refused, 409)

    def test_of_what_is_not_scored_is_refused(self, uma: Caller) -> None:
        loan = append_requested_loan(score=None).loan_request_id
        assert "not under review yet" in problem_in(uma.claim(loan), 409)


class TestRelease:
    def test_of_what_one_does_not_hold_changes_nothing(
        self, uma: Caller, ursula: Caller, loan: UUID
    ) -> None:
        assert holder_in(uma.release(loan)) == NOBODY
        uma.claim(loan)
        assert holder_in(ursula.release(loan))[0] == "uma"
        assert types_of(loan)[3:] == ["RequestClaimed"]


class TestHandOver:
    def test_gives_it_to_another_once(self, uma: Caller, ursula: Caller, loan: UUID) -> None:
        uma.claim(loan)
        first, again = (uma.hand_over(loan, "ursula", "Lunch.") for _ in range(2))
        assert holder_in(first)[0] == "ursula"
        assert again.json() == first.json()
        assert types_of(loan)[3:] == ["RequestClaimed", "RequestHandedOver"]
        assert "ursula works on" in problem_in(uma.approve(loan), 409)
        assert ursula.approve(loan).status_code == 200

    def test_of_what_nobody_holds_is_for_leads(self, uma: Caller, lena: Caller, loan: UUID) -> None:
        assert "Claim this loan request" in problem_in(uma.hand_over(loan, "lena"), 409)
        assert holder_in(lena.hand_over(loan, "uma"))[0] == "uma"

    def test_of_what_another_holds_is_for_leads_who_say_why(
        self, uma: Caller, ursula: Caller, lena: Caller, loan: UUID
    ) -> None:
        uma.claim(loan)
        assert "uma works on" in problem_in(ursula.hand_over(loan, "ursula"), 409)
        response = lena.hand_over(loan, "ursula")
        problem_in(response, 422)
        assert [each["field"] for each in response.json()["errors"]] == ["why"]
        assert holder_in(lena.hand_over(loan, "lena", "She is ill."))[0] == "lena"

    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({}, "to"),
            ({"to": ""}, "to"),
            ({"to": 5}, "to"),
            ({"to": None}, "to"),
            ({"to": "nobody"}, "to"),
            ({"to": "clem"}, "to"),
            ({"to": "gone"}, "to"),
            ({"to": "ursula\x00"}, "to"),
            ({"to": "u" * 151}, "to"),
            ({"to": "ursula", "why": 5}, "why"),
            ({"to": "ursula", "why": "x" * 501}, "why"),
            ({"to": "ursula", "why": "a\u202eb"}, "why"),
            ({"to": "ursula", "by": "lena"}, "by"),
            ({"to": "ursula", "as_lead": True}, "as_lead"),
        ],
    )
    @pytest.mark.usefixtures("ursula")
    def test_with_what_is_wrong_names_the_field(
        self, uma: Caller, loan: UUID, body: dict[str, Any], field: str
    ) -> None:
        make_clerk("clem")
        gone = make_underwriter("gone")
        gone.is_active = False
        gone.save()
        uma.claim(loan)
        response = uma.post(f"/loan-requests/{loan}/hand-over", body)
        problem_in(response, 422)
        assert field in [each["field"] for each in response.json()["errors"]]
        assert types_of(loan)[3:] == ["RequestClaimed"]


class TestEscalate:
    def test_leaves_it_to_the_leads(self, uma: Caller, lena: Caller, loan: UUID) -> None:
        uma.claim(loan)
        response = uma.escalate(loan)
        assert holder_in(response) == NOBODY
        assert response.json()["escalated"] is True
        assert uma.escalate(loan).json() == response.json()
        for refused in (uma.claim(loan), uma.approve(loan), uma.deny(loan)):
            assert "left to the lead underwriters" in problem_in(refused, 409)
        lena.claim(loan)
        assert "left to the lead" in problem_in(lena.hand_over(loan, "uma"), 409)
        assert lena.approve(loan).status_code == 200

    @pytest.mark.parametrize(
        "body", [{}, {"why": ""}, {"why": " "}, {"why": 5}, {"why": "x" * 501}, {"why": "a\x00"}]
    )
    def test_without_a_reason_is_refused(
        self, uma: Caller, loan: UUID, body: dict[str, Any]
    ) -> None:
        response = uma.post(f"/loan-requests/{loan}/escalate", body)
        problem_in(response, 422)
        assert [each["field"] for each in response.json()["errors"]] == ["why"]
        assert len(types_of(loan)) == 3


class TestAll:
    def test_of_nobody_are_not_found(self, uma: Caller) -> None:
        loan = uuid4()
        for response in (
            uma.claim(loan),
            uma.release(loan),
            uma.escalate(loan),
            uma.hand_over(loan, "uma"),
        ):
            assert problem_in(response, 404) == "There is no loan request with this id."

    def test_of_what_was_deleted_are_gone(self, uma: Caller, loan: UUID) -> None:
        event_store_client().tombstone_stream(stream_name(loan), current_version=StreamState.EXISTS)
        for response in (
            uma.claim(loan),
            uma.release(loan),
            uma.escalate(loan),
            uma.hand_over(loan, "uma"),
        ):
            assert "was deleted" in problem_in(response, 410)

    @pytest.mark.parametrize("path", ["/loan-requests/{}/claim", "/loan-requests/{}/release"])
    def test_without_fields_take_none(self, uma: Caller, loan: UUID, path: str) -> None:
        assert uma.post(path.format(loan), {}).status_code == 200
        response = uma.post(path.format(loan), {"until": "forever"})
        problem_in(response, 422)
        assert [each["field"] for each in response.json()["errors"]] == ["until"]


def in_the_queue(loan: UUID, minute: int, **columns: Any) -> UUID:
    """Put a request where the read side says what waits."""
    person: Any = {"name": "Ann Example", "national_id": "555555aa", "credit_score": 5}
    requested_at = datetime.fromisoformat(f"2026-11-23T09:{minute:02}Z")
    PendingRequest.objects.create(
        id=loan, amount=5000, requested_at=requested_at, **person, **columns
    )
    return loan


class TestNext:
    def test_is_the_oldest_that_can_be_claimed(self, uma: Caller, ursula: Caller) -> None:
        first, second, third = (append_requested_loan(score=5).loan_request_id for _ in range(3))
        for minute, loan in ((3, third), (2, second), (1, first)):
            in_the_queue(loan, minute)
        # The read side does not know it yet.
        ursula.claim(first)
        response = uma.claim_next()
        assert (response.json()["id"], holder_in(response)[0]) == (str(second), "uma")
        assert ursula.claim_next().json()["id"] == str(first)
        assert uma.claim_next().json()["id"] == str(second)

    def test_is_none_where_nothing_is_left(self, uma: Caller, ursula: Caller, loan: UUID) -> None:
        assert "Nothing that waits" in problem_in(uma.claim_next(), 404)
        in_the_queue(loan, 1)
        ursula.claim(loan)
        assert "Nothing that waits" in problem_in(uma.claim_next(), 404)

    def test_of_what_was_left_to_leads_is_for_leads(
        self, uma: Caller, lena: Caller, loan: UUID
    ) -> None:
        uma.escalate(loan)
        in_the_queue(loan, 1, escalated_by="uma")
        assert uma.claim_next().status_code == 404
        assert lena.claim_next().json()["id"] == str(loan)

    def test_takes_no_fields(self, uma: Caller) -> None:
        assert uma.post("/queue/next", {"ids": []}).status_code == 422
