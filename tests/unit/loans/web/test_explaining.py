"""Why a request stands as it does, in the words of the API's answers."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from django.utils import timezone

from loans.domain.loan_request import Application, Decision, LoanRequest, Status
from loans.web.explaining import explanation, reasons_told

LATE = datetime(2026, 11, 23, 23, 30, tzinfo=UTC)
ANN = Application("Ann Example", "666666aa", 5000, "")


@pytest.mark.parametrize(
    ("zone", "day"), [("Europe/London", 23), ("Asia/Tokyo", 24), ("America/New_York", 23)]
)
def test_the_date_is_that_of_the_lenders_time_zone(zone: str, day: int) -> None:
    decision = Decision(Status.APPROVED, None, LATE)
    state = LoanRequest(Status.APPROVED, ANN, LATE, credit_score=9, decision=decision)
    with timezone.override(zone):
        assert explanation(state) == (
            f"Approved at once on {day} November 2026 because the score was 9 and policy 0 "
            "approves from 7."
        )


def test_before_the_score_is_known_there_is_nothing_to_explain() -> None:
    assert explanation(LoanRequest(Status.RECEIVED, ANN, LATE)) is None
    assert reasons_told(None) == {}


def test_nothing_of_it_names_anybody() -> None:
    decision = Decision(Status.DENIED, "uma", LATE, ("too_much_debt",), together_with=("vic",))
    state = LoanRequest(Status.DENIED, ANN, LATE, credit_score=5, decision=decision)
    assert explanation(state) == (
        "Denied by two underwriters on 23 November 2026 under policy 0, for these reasons: You owe "
        "too much already."
    )
