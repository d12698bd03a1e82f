"""Four eyes in the API: above the policy's limit, two people approve; a third settles a dispute."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

import pytest
from django.utils import timezone

from loans.adapters.codec import loan_request_stream
from loans.application.policies import PolicyUnavailable
from loans.dependencies import event_store as loans_store
from loans.dependencies import policies
from loans.domain.policy import Policy
from tests.support.api import Caller, application, caller_for, underwriters_tool
from tests.support.event_store import RunningEventStore
from tests.support.policies import DEMO_LIKE, put_in_force
from tests.support.staff import make_underwriter
from tests.support.workers import types_of

pytestmark = [pytest.mark.usefixtures("demo_like"), pytest.mark.django_db]

LIMIT: Final = 10_000
ABOVE: Final = 20_000


@pytest.fixture
def demo_like(event_store: RunningEventStore) -> int:
    """The version of the policy in force, whose limit is 10,000."""
    return put_in_force(DEMO_LIKE)


@pytest.fixture
def uma() -> Caller:
    return underwriters_tool("uma")


@pytest.fixture
def ursula() -> Caller:
    return underwriters_tool("ursula")


@pytest.fixture
def ulf() -> Caller:
    return underwriters_tool("ulf")


def under_review(amount: int = ABOVE, score: int = 6) -> UUID:
    """A request that is under review."""
    answer = Caller().apply(application(score=score, amount=amount)).json()
    assert answer["status"] == "under_review"
    return UUID(answer["id"])


def how_it_stands(response: Any) -> tuple[str, str | None]:
    assert response.status_code == 200
    answer = response.json()
    return answer["status"], answer["awaiting"]


SECOND_OPINION: Final = ("under_review", "second opinion")
THIRD_OPINION: Final = ("under_review", "third opinion")
APPROVED: Final = ("approved", None)
DENIED: Final = ("denied", None)


def test_up_to_the_limit_one_person_approves(uma: Caller) -> None:
    assert how_it_stands(uma.approve(under_review(LIMIT), '"2"')) == APPROVED


def test_above_it_takes_a_second_person(uma: Caller, ursula: Caller) -> None:
    loan = under_review()
    first = uma.approve(loan, '"2"')
    assert how_it_stands(first) == SECOND_OPINION
    second = ursula.approve(loan, first["ETag"])
    assert how_it_stands(second) == APPROVED
    assert second.json()["explanation"] == (
        f"Approved by two underwriters on {day_of(second.json())} because policy 1 asks two "
        "people above 10,000."
    )


@pytest.mark.parametrize("score", [6, 9])
def test_above_the_limit_no_score_approves_at_once(score: int) -> None:
    under_review(score=score)


def test_the_same_person_again_changes_nothing(uma: Caller) -> None:
    loan = under_review()
    first = uma.approve(loan, '"2"')
    for etag in ('"2"', first["ETag"], "*"):
        again = uma.approve(loan, etag)
        assert (again.status_code, again.json(), again["ETag"]) == (200, first.json(), '"3"')
    assert types_of(loan)[3:] == ["ApprovalProposed"]


def test_two_tokens_of_one_user_are_one_person() -> None:
    user, loan = make_underwriter("una"), under_review()
    for _ in range(2):
        assert how_it_stands(caller_for(user).approve(loan)) == SECOND_OPINION


def test_of_two_first_opinions_at_once_the_second_is_to_look_again(
    uma: Caller, ursula: Caller
) -> None:
    loan = under_review()
    assert how_it_stands(uma.approve(loan, '"2"')) == SECOND_OPINION
    refused = ursula.approve(loan, '"2"')
    assert (refused.status_code, refused["ETag"]) == (412, '"3"')
    assert how_it_stands(ursula.approve(loan, refused["ETag"])) == APPROVED


def test_a_denial_decides_where_nobody_is_for_an_approval(uma: Caller) -> None:
    assert how_it_stands(uma.deny(under_review(), '"2"')) == DENIED


class TestADisagreement:
    @pytest.fixture
    def loan(self, uma: Caller, ursula: Caller) -> UUID:
        """Uma is for it, and Ursula against."""
        loan = under_review()
        uma.approve(loan)
        assert how_it_stands(ursula.deny(loan, note="Called twice.")) == THIRD_OPINION
        return loan

    def test_is_settled_by_a_third_persons_approval(self, ulf: Caller, loan: UUID) -> None:
        assert how_it_stands(ulf.approve(loan)) == APPROVED

    def test_is_settled_by_a_third_persons_denial(self, ulf: Caller, loan: UUID) -> None:
        response = ulf.deny(loan, reasons=["income_too_low"])
        assert how_it_stands(response) == DENIED
        answer = response.json()
        assert answer["explanation"] == (
            f"Denied by two underwriters on {day_of(answer)} under policy 1, for these reasons: "
            "Your income is too low for this amount."
        )

    def test_is_over_when_the_first_is_persuaded(self, uma: Caller, loan: UUID) -> None:
        assert how_it_stands(uma.deny(loan)) == DENIED

    def test_is_over_when_the_second_is_persuaded(self, ursula: Caller, loan: UUID) -> None:
        assert how_it_stands(ursula.approve(loan)) == APPROVED

    def test_goes_on_when_they_repeat_themselves(
        self, uma: Caller, ursula: Caller, loan: UUID
    ) -> None:
        assert how_it_stands(uma.approve(loan)) == THIRD_OPINION
        assert how_it_stands(ursula.deny(loan, note="Called twice.")) == THIRD_OPINION


def test_who_changes_their_own_mind_decides(uma: Caller) -> None:
    loan = under_review()
    uma.approve(loan)
    assert how_it_stands(uma.deny(loan)) == DENIED


def test_when_the_limit_is_raised_one_person_is_enough(uma: Caller) -> None:
    loan = under_review()
    first = uma.approve(loan)
    put_in_force(DEMO_LIKE.model_copy(update={"four_eyes_above": ABOVE}))
    assert how_it_stands(uma.approve(loan, first["ETag"])) == APPROVED


class TestExplanations:
    def test_of_an_automatic_approval(self) -> None:
        answer = Caller().apply(application(score=8)).json()
        assert answer["explanation"] == (
            f"Approved at once on {day_of(answer)} because the score was 8 and policy 1 approves "
            "from 7."
        )

    def test_of_a_review_by_score(self) -> None:
        answer = Caller().apply(application(score=5)).json()
        assert answer["explanation"] == (
            "An underwriter looks at it because the score was 5 and policy 1 leaves 5 to 6 to "
            "people."
        )

    def test_of_a_review_by_amount(self) -> None:
        answer = Caller().apply(application(score=9, amount=ABOVE)).json()
        assert answer["explanation"] == (
            "An underwriter looks at it because policy 1 leaves amounts above 10,000 to people."
        )
        assert answer["reasons"] == []

    def test_of_a_denial_names_its_reasons_in_the_applicants_words(self, uma: Caller) -> None:
        body = {"reasons": ["other", "too_much_debt"], "reason_text": "You moved three times."}
        path = f"/loan-requests/{under_review()}/deny"
        answer = uma.post(path, body, **{"If-Match": "*"}).json()
        assert answer["reasons"] == [
            {"code": "other", "text": "You moved three times."},
            {"code": "too_much_debt", "text": "You owe too much already."},
        ]
        assert answer["explanation"] == (
            f"Denied by an underwriter on {day_of(answer)} under policy 1, for these reasons: "
            "You moved three times. You owe too much already."
        )

    def test_are_by_the_policy_that_decided_then(self, uma: Caller) -> None:
        loan = under_review(LIMIT)
        first = uma.approve(loan, '"2"', note="good")
        put_in_force(DEMO_LIKE.model_copy(update={"approve_from": 8}))
        assert uma.approve(loan, '"2"', note="good").json() == first.json()
        assert "under policy 1." in first.json()["explanation"]


class TestReasonsThatThePolicyDoesNotTake:
    def refused(self, response: Any) -> list[str]:
        assert response.status_code == 422
        return [each["field"] for each in response.json()["errors"]]

    def test_unknown(self, uma: Caller) -> None:
        loan = under_review()
        assert self.refused(uma.deny(loan, '"2"', ["too_much_debt", "a_whim"])) == ["reasons"]
        assert len(types_of(loan)) == 3

    def test_retired_but_a_denial_sent_again_is_answered_as_the_first_time(
        self, uma: Caller
    ) -> None:
        loan, other = under_review(), under_review()
        first = uma.deny(loan, '"2"')
        put_in_force(without("too_much_debt"))
        assert uma.deny(loan, '"2"').json() == first.json()
        response = uma.deny(other, '"2"')
        assert self.refused(response) == ["reasons"]
        assert "`too_much_debt`" in response.json()["errors"][0]["message"]

    def test_another_reason_must_be_put_into_words(self, uma: Caller) -> None:
        assert self.refused(uma.deny(under_review(), '"2"', ["other"])) == ["reason_text"]


def test_while_the_policy_cannot_be_read_nothing_is_lost(
    uma: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(at: object) -> Policy:
        raise PolicyUnavailable

    loan, body = under_review(), application(score=9)
    with monkeypatch.context() as outage:
        outage.setattr(policies(), "in_force", away)
        for response in (uma.approve(loan), uma.deny(loan), Caller().apply(body)):
            assert response.status_code == 503
            assert "send it again" in response.json()["detail"]
            assert int(response["Retry-After"]) > 0
    assert len(types_of(loan)) == 3
    assert how_it_stands(uma.approve(loan)) == SECOND_OPINION
    assert Caller().apply(body).json()["status"] == "approved"


def without(code: str) -> Policy:
    """The policy with a reason retired."""
    retired = DEMO_LIKE.reasons[code].model_copy(update={"active": False})
    return DEMO_LIKE.model_copy(update={"reasons": {**DEMO_LIKE.reasons, code: retired}})


def day_of(answer: Any) -> str:
    """The day of the last event of the request that was answered."""
    stream = loans_store().load(loan_request_stream(UUID(answer["id"])))
    day = timezone.localdate(stream.events[-1].occurred_at)
    return f"{day.day} {day:%B %Y}"
