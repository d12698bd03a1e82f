"""The status of a loan request in the JSON API."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest
from django.test import Client
from pytest_django import DjangoAssertNumQueries, Settings

from readmodels.models import Checkpoint, LoanStatus
from tests.support.known_policies import known
from tests.support.loans import AT, append_requested_loan

pytestmark = [pytest.mark.usefixtures("streams"), pytest.mark.django_db]


def known_loan(**columns: Any) -> LoanStatus:
    """A request that is in the read model."""
    row = {"status": "approved", "amount": 1, "received_at": AT}
    return LoanStatus.objects.create(id=uuid4(), **{**row, **columns})


class TestLoanRequest:
    def get(self, client: Client, loan_request_id: object) -> Any:
        return client.get(f"/api/loan-requests/{loan_request_id}")

    def test_it_answers_from_the_read_model(
        self, client: Client, django_assert_num_queries: DjangoAssertNumQueries
    ) -> None:
        loan_request_id = known_loan().id
        with django_assert_num_queries(1):
            response = self.get(client, loan_request_id)
        assert response.json() == {
            "id": str(loan_request_id),
            "status": "approved",
            "amount": 1,
            "currency": "GBP",
            "link": f"http://testserver/loans/{loan_request_id}/",
            "reasons": [],
            "explanation": None,
            "awaiting": None,
            "up_to_date": True,
        }

    def test_it_says_why_in_the_words_of_the_policy_that_decided(self, client: Client) -> None:
        known(3)
        why = {"reasons": ["too_much_debt", "other"], "reason_text": "We know the house."}
        by_people = {"status": "denied", "decided_at": AT, "people": 2, "policy": 3, **why}
        answer = self.get(client, known_loan(**by_people, credit_score=5).id).json()
        assert answer["reasons"] == [
            {"code": "too_much_debt", "text": "Your debts are too high."},
            {"code": "other", "text": "We know the house."},
        ]
        assert answer["explanation"] == (
            "Denied by two underwriters on 23 November 2026 under policy 3, for these reasons: "
            "Your debts are too high. We know the house."
        )

    def test_it_has_no_tag_before_its_policy_is_known(self, client: Client) -> None:
        loan = known_loan(status="under_review", credit_score=5, policy=3).id
        response = self.get(client, loan)
        assert "ETag" not in response
        assert response.json()["explanation"] is None
        known(3)
        assert "ETag" in self.get(client, loan)

    def test_it_says_whose_opinion_is_awaited(self, client: Client) -> None:
        loan = known_loan(status="under_review", awaiting="second opinion", credit_score=5)
        answer = self.get(client, loan.id).json()
        assert answer["awaiting"] == "second opinion"
        assert answer["explanation"].startswith("An underwriter looks at it")

    def test_right_after_the_post_it_is_never_404(self, client: Client, settings: Settings) -> None:
        settings.READ_MODEL_WAIT_SECONDS = 0.1
        loan_request_id = append_requested_loan().loan_request_id
        response = self.get(client, loan_request_id)
        assert (response.status_code, response.json()["status"]) == (200, "received")
        assert response.json()["up_to_date"] is False
        assert (response.json()["amount"], response.json()["currency"]) == (None, "GBP")

    def test_what_is_not_there_is_404_at_once(self, client: Client, settings: Settings) -> None:
        settings.READ_MODEL_WAIT_SECONDS = 3600
        response = self.get(client, UUID(int=1))
        assert response.status_code == 404
        assert response["Content-Type"] == "application/problem+json"

    def test_what_is_up_to_date_has_a_tag_and_is_not_sent_again_for_that_tag(
        self, client: Client
    ) -> None:
        loan = known_loan(revision=3)
        path = f"/api/loan-requests/{loan.id}"
        assert client.get(path)["ETag"] == '"3"'
        for tags in ('"3"', '"1", "3"', 'W/"3"', "*"):
            response = client.get(path, headers={"If-None-Match": tags})
            assert (response.status_code, response["ETag"]) == (304, '"3"')
            assert response.content == b""
        for tags in ('"2"', "3", "", "nonsense"):
            assert client.get(path, headers={"If-None-Match": tags}).status_code == 200
        assert client.get(path, headers={"If-Match": '"2"'}).status_code == 200, (
            "it is for commands"
        )

    def test_head_has_the_tag_and_the_condition_of_get(self, client: Client) -> None:
        path = f"/api/loan-requests/{known_loan(revision=3).id}"
        response = client.head(path)
        assert (response.status_code, response["ETag"], response.content) == (200, '"3"', b"")
        assert response["Content-Length"] == client.get(path)["Content-Length"]
        assert client.head(path, headers={"If-None-Match": '"3"'}).status_code == 304
        assert client.head(f"/api/loan-requests/{uuid4()}").status_code == 404

    @pytest.mark.parametrize("values", [("1", "2"), ("1", "1"), ("", "1"), ("1", "x", "2")])
    def test_an_after_that_is_given_twice_names_the_field(
        self, client: Client, values: tuple[str, ...]
    ) -> None:
        response = client.get(f"/api/loan-requests/{known_loan().id}", {"after": values})
        assert response.status_code == 422
        assert response["Content-Type"] == "application/problem+json"
        assert response.json()["errors"] == [
            {"field": "after", "message": "This must not be given more than once."}
        ]

    def test_what_is_not_up_to_date_has_no_tag(self, client: Client, settings: Settings) -> None:
        settings.READ_MODEL_WAIT_SECONDS = 0.1
        path, ahead = f"/api/loan-requests/{known_loan(revision=3).id}", {"after": 2**40}
        response = client.get(path, ahead, headers={"If-None-Match": '"3"'})
        assert (response.status_code, response.json()["up_to_date"]) == (200, False)
        assert "ETag" not in response

    @pytest.mark.parametrize("after", ["soon", "-1", "1.5", str(2**63), "9" * 5_000, "1e3"])
    def test_an_after_that_is_no_position_names_the_field(self, client: Client, after: str) -> None:
        response = client.get(f"/api/loan-requests/{uuid4()}", {"after": after})
        assert response.status_code == 422
        assert response.json()["errors"][0]["field"] == "after"

    def test_an_invalid_id_names_the_field(self, client: Client) -> None:
        response = self.get(client, "not-a-uuid")
        assert response.status_code == 422
        assert response.json()["errors"][0]["field"] == "id"

    @pytest.mark.usefixtures("no_event_store")
    def test_without_the_event_store_an_unknown_request_is_503_and_not_404(
        self, client: Client
    ) -> None:
        response = self.get(client, uuid4())
        assert response.status_code == 503
        assert int(response["Retry-After"]) > 0


@pytest.mark.usefixtures("no_patience")
class TestReadYourWrites:
    """Here the tests write the read model, instead of a projector."""

    def known(self, at: int, status: str = "approved") -> LoanStatus:
        Checkpoint.objects.create(name="loan_status", position=at)
        return known_loan(status=status)

    def get(self, client: Client, loan: LoanStatus, after: int) -> Any:
        return client.get(f"/api/loan-requests/{loan.id}", {"after": after}).json()

    def test_what_is_reached_is_answered_at_once_with_one_query_more(
        self, client: Client, settings: Settings, django_assert_num_queries: DjangoAssertNumQueries
    ) -> None:
        settings.READ_MODEL_WAIT_SECONDS = 3600
        loan = self.known(at=5)
        with django_assert_num_queries(2):
            answer = self.get(client, loan, after=5)
        assert (answer["status"], answer["up_to_date"]) == ("approved", True)

    def test_what_is_not_reached_in_time_is_said_to_be_out_of_date(self, client: Client) -> None:
        loan = self.known(at=5, status="under_review")
        answer = self.get(client, loan, after=6)
        assert (answer["status"], answer["up_to_date"]) == ("under_review", False)
        assert self.get(client, loan, after=2**63 - 1)["up_to_date"] is False

    def test_nobody_waits_for_what_is_not_there(self, client: Client, settings: Settings) -> None:
        settings.READ_MODEL_WAIT_SECONDS = 3600
        response = client.get(f"/api/loan-requests/{UUID(int=1)}", {"after": 2**40})
        assert response.status_code == 404
