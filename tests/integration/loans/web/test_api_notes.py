"""Notes in the API: as the token's user, once where it has a key, and moving the ETag."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest

from loans.domain.loan_request import MOST_NOTES
from tests.support.api import Caller, underwriters_tool
from tests.support.loans import append_note, append_requested_loan, notes_of

pytestmark = [pytest.mark.usefixtures("streams"), pytest.mark.django_db]

TEXT = "Called, no answer."


@pytest.fixture
def loan() -> UUID:
    """A request that is under review."""
    return append_requested_loan(score=5).loan_request_id


@pytest.fixture
def tool() -> Caller:
    return underwriters_tool("ulla")


def test_records_the_note_as_the_tokens_users(tool: Caller, loan: UUID) -> None:
    response = tool.note(loan, TEXT)
    assert response.status_code == 200
    assert response["ETag"] == '"3"'
    assert response.json()["status"] == "under_review"
    assert TEXT not in response.content.decode()
    assert notes_of(loan) == [("ulla", TEXT)]


def test_a_decision_on_the_etag_before_is_out_of_date(tool: Caller, loan: UUID) -> None:
    etag = tool.note(loan)["ETag"]
    assert tool.approve(loan, '"2"').status_code == 412
    assert tool.approve(loan, etag).status_code == 200


def test_with_a_key_it_can_be_sent_again(tool: Caller, loan: UUID) -> None:
    key = {"Idempotency-Key": f'"{uuid4()}"'}
    first, again = (tool.note(loan, TEXT, **key) for _ in range(2))
    assert (again.status_code, again.json()) == (200, first.json())
    assert len(notes_of(loan)) == 1
    assert tool.note(loan, "Another.", **key).status_code == 422
    assert tool.note(loan, TEXT, **{"Idempotency-Key": f'"{uuid4()}"'}).status_code == 200
    assert len(notes_of(loan)) == 2


@pytest.mark.parametrize(
    "body", [{}, {"text": ""}, {"text": "x" * 501}, {"text": 5}, {"text": "a", "by": "uma"}]
)
def test_what_is_no_note_is_refused_with_the_field(
    tool: Caller, loan: UUID, body: dict[str, Any]
) -> None:
    response = tool.post(f"/loan-requests/{loan}/notes", body)
    assert response.status_code == 422
    assert response.json()["errors"][0]["field"] in ("text", "by")
    assert notes_of(loan) == []


def test_of_nobody_is_not_found(tool: Caller) -> None:
    assert tool.note(uuid4()).status_code == 404


def test_has_100_notes_at_most(tool: Caller, loan: UUID) -> None:
    for _ in range(MOST_NOTES):
        append_note(loan)
    assert tool.note(loan).status_code == 409
