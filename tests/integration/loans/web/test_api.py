"""Applying for a loan through the JSON API."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest

from tests.support.api import Caller, application
from tests.support.loans import append_approval

pytestmark = [pytest.mark.usefixtures("streams"), pytest.mark.django_db]


@pytest.fixture
def anybody() -> Caller:
    """A caller without a token."""
    return Caller()


class TestRequestLoan:
    @pytest.mark.parametrize(
        ("score", "status"), [(9, "approved"), (1, "denied"), (6, "under_review")]
    )
    def test_it_answers_with_the_status_and_where_to_follow_it(
        self, anybody: Caller, score: int, status: str
    ) -> None:
        response = anybody.apply(application(score))

        answer = response.json()
        assert response.status_code == 201
        assert answer["status"] == status
        assert answer["link"] == f"http://testserver/loans/{answer['id']}/"
        assert response["Location"] == f"/api/loan-requests/{answer['id']}"
        assert response["ETag"] == '"2"'

    def test_the_id_may_come_in_the_body(self, anybody: Caller) -> None:
        body = application()
        assert anybody.apply(body).json()["id"] == body["id"]

    def test_without_an_id_and_without_a_key_each_is_a_request_of_its_own(
        self, anybody: Caller
    ) -> None:
        body = {"name": "Ann Example", "national_id": "999999aa", "amount": 5000}
        assert anybody.apply(body).json()["id"] != anybody.apply(body).json()["id"]

    def test_sent_again_it_is_the_same_request_and_the_same_answer(self, anybody: Caller) -> None:
        body = application()
        first, again = anybody.apply(body), anybody.apply(body)
        assert (first.status_code, first.json()) == (again.status_code, again.json())

    def test_sent_again_later_it_is_still_answered_as_the_first_time(self, anybody: Caller) -> None:
        body = application(score=5)
        first = anybody.apply(body)
        append_approval(UUID(body["id"]))
        again = anybody.apply(body)
        assert again.json() == first.json()
        assert again["ETag"] == first["ETag"]

    def test_an_id_that_was_used_for_something_else_is_a_conflict(self, anybody: Caller) -> None:
        body = application(score=9)
        anybody.apply(body)
        response = anybody.apply({**body, "amount": 1})
        assert response.status_code == 409
        assert response["Content-Type"] == "application/problem+json"
        assert response.json()["errors"][0]["field"] == "id"

    def test_a_second_open_request_is_a_conflict_that_says_nothing_of_the_first(
        self, anybody: Caller
    ) -> None:
        open_one = application(score=5)
        anybody.apply(open_one)
        response = anybody.apply({**open_one, "id": str(uuid4())})
        assert response.status_code == 409
        assert "We cannot take this application now" in response.json()["detail"]
        assert open_one["id"] not in response.content.decode()
        assert "Location" not in response

    @pytest.mark.usefixtures("no_credit_bureau")
    def test_without_the_credit_bureau_it_is_received_all_the_same(self, anybody: Caller) -> None:
        response = anybody.apply(application())
        assert (response.status_code, response.json()["status"]) == (201, "received")

    @pytest.mark.usefixtures("no_event_store")
    def test_without_the_event_store_it_says_when_to_try_again(self, anybody: Caller) -> None:
        response = anybody.apply(application())
        assert response.status_code == 503
        assert int(response["Retry-After"]) > 0

    def test_a_command_is_answered_with_its_position(self, anybody: Caller) -> None:
        first, second = (anybody.apply(application()).json()["position"] for _ in range(2))
        assert isinstance(first, int)
        assert second > first
