"""The JSON API, the health endpoints, and what they say when something is away."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.test import Client
from pytest_django import DjangoAssertNumQueries, Settings

from readmodels import positions
from readmodels.models import Checkpoint, LoanStatus
from tests.support.fakes import FakeCreditBureau

pytestmark = [pytest.mark.usefixtures("streams"), pytest.mark.django_db]

APPLICATION = {"name": "Ann Example", "national_id": "555555aa", "amount": 5000}


def post(client: Client, body: Any = APPLICATION, **headers: str) -> Any:
    return client.post(
        "/api/loan-requests",
        json.dumps(body),
        content_type="application/json",
        headers=headers,
    )


class TestRequestLoan:
    @pytest.mark.parametrize(
        ("national_id", "status"),
        [("999999aa", "approved"), ("111111AA", "denied"), ("666666aa", "under_review")],
    )
    def test_it_answers_how_the_request_stands_and_where_to_look(
        self, client: Client, national_id: str, status: str
    ) -> None:
        response = post(client, {**APPLICATION, "national_id": national_id})

        answer = response.json()
        assert response.status_code == 201
        assert answer["status"] == status
        assert answer["link"] == f"http://testserver/loans/{answer['id']}/"
        assert response["Location"] == f"/api/loan-requests/{answer['id']}"

    def test_the_id_may_come_in_the_body_or_in_the_header(self, client: Client) -> None:
        first, second, third = (str(uuid4()) for _ in range(3))
        assert post(client, {**APPLICATION, "id": first}).json()["id"] == first
        assert post(client, **{"Idempotency-Key": second}).json()["id"] == second
        assert post(client, **{"Idempotency-Key": f'"{third}"'}).json()["id"] == third

    def test_two_ids_that_differ_are_refused(self, client: Client) -> None:
        body = {**APPLICATION, "id": str(uuid4())}
        response = post(client, body, **{"Idempotency-Key": str(uuid4())})
        assert response.status_code == 422
        assert response.json()["errors"][0]["field"] == "Idempotency-Key"

    def test_sent_again_it_is_the_same_request_and_the_same_answer(self, client: Client) -> None:
        body = {**APPLICATION, "id": str(uuid4())}
        first, again = post(client, body), post(client, body)
        assert (first.status_code, first.json()) == (again.status_code, again.json())

    def test_an_id_that_was_used_for_something_else_is_a_conflict(self, client: Client) -> None:
        body = {**APPLICATION, "id": str(uuid4())}
        post(client, body)
        response = post(client, {**body, "amount": 1})
        assert response.status_code == 409
        assert response["Content-Type"] == "application/problem+json"
        assert response.json()["errors"][0]["field"] == "id"

    def test_without_the_clearing_house_it_says_when_to_try_again(
        self, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("loans.api.credit_bureau", lambda: FakeCreditBureau(None))
        response = post(client)
        assert response.status_code == 503
        assert int(response["Retry-After"]) > 0

    @pytest.mark.usefixtures("no_event_store")
    def test_without_the_event_store_it_says_when_to_try_again(self, client: Client) -> None:
        response = post(client)
        assert response.status_code == 503
        assert int(response["Retry-After"]) > 0


class TestLoanRequest:
    def get(self, client: Client, loan_request_id: object) -> Any:
        return client.get(f"/api/loan-requests/{loan_request_id}")

    def test_it_answers_from_the_read_model(
        self, client: Client, django_assert_num_queries: DjangoAssertNumQueries
    ) -> None:
        loan_request_id, at = uuid4(), datetime.now(UTC)
        LoanStatus.objects.create(
            id=loan_request_id, status="approved", amount=1, received_at=at, decided_at=at
        )
        with django_assert_num_queries(1):
            response = self.get(client, loan_request_id)
        assert response.json() == {
            "id": str(loan_request_id),
            "status": "approved",
            "link": f"http://testserver/loans/{loan_request_id}/",
            "up_to_date": True,
        }

    def test_right_after_the_post_it_is_never_404(self, client: Client, settings: Settings) -> None:
        settings.READ_MODEL_WAIT_SECONDS = 0.1
        loan_request_id = post(client).json()["id"]
        response = self.get(client, loan_request_id)
        assert (response.status_code, response.json()["status"]) == (200, "received")
        assert response.json()["up_to_date"] is False

    def test_what_is_not_there_is_404_at_once(self, client: Client, settings: Settings) -> None:
        settings.READ_MODEL_WAIT_SECONDS = 3600
        response = self.get(client, UUID(int=1))
        assert response.status_code == 404
        assert response["Content-Type"] == "application/problem+json"

    @pytest.mark.parametrize("after", ["soon", "-1", "1.5", str(2**63), "9" * 5_000, "1e3"])
    def test_an_after_that_is_no_position_names_the_field(self, client: Client, after: str) -> None:
        response = client.get(f"/api/loan-requests/{uuid4()}", {"after": after})
        assert response.status_code == 422
        assert response.json()["errors"][0]["field"] == "after"

    def test_an_id_that_is_none_names_the_field(self, client: Client) -> None:
        response = self.get(client, "not-a-uuid")
        assert response.status_code == 422
        assert response.json()["errors"][0]["field"] == "id"

    @pytest.mark.usefixtures("no_event_store")
    def test_without_the_event_store_the_unknown_is_not_said_to_be_missing(
        self, client: Client
    ) -> None:
        response = self.get(client, uuid4())
        assert response.status_code == 503
        assert int(response["Retry-After"]) > 0


class TestReadYourWrites:
    """The read model is written by hand here: what waits for it is what is looked at."""

    @pytest.fixture(autouse=True)
    def no_patience(self, settings: Settings) -> Iterator[None]:
        settings.READ_MODEL_WAIT_SECONDS = 0.1
        yield
        positions.hints.close()

    def known(self, at: int, status: str = "approved") -> LoanStatus:
        Checkpoint.objects.create(name="loan_status", position=at)
        return LoanStatus.objects.create(
            id=uuid4(), status=status, amount=1, received_at=datetime.now(UTC)
        )

    def get(self, client: Client, loan: LoanStatus, after: int) -> Any:
        return client.get(f"/api/loan-requests/{loan.id}", {"after": after}).json()

    def test_a_command_is_answered_with_its_position(self, client: Client) -> None:
        answer = post(client).json()
        assert isinstance(answer["position"], int)
        assert post(client).json()["position"] > answer["position"]

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


def test_addresses_that_are_not_there_are_problems_too(client: Client) -> None:
    response = client.get("/api/nothing")
    assert response.status_code == 404
    assert response["Content-Type"] == "application/problem+json"


def test_the_openapi_document_and_its_page_are_served(client: Client) -> None:
    document = client.get("/api/openapi.json").json()
    schema = document["components"]["schemas"]["LoanApplication"]
    assert schema["additionalProperties"] is False
    assert schema["properties"]["amount"]["maximum"] == 9_999_999_999
    assert set(document["paths"]["/api/loan-requests"]["post"]["responses"]) == {
        "201", "400", "409", "413", "422", "503"
    }  # fmt: skip
    answer = document["components"]["schemas"]["LoanRequestAnswer"]
    assert "commit position" in answer["properties"]["position"]["description"]
    _, after = document["paths"]["/api/loan-requests/{id}"]["get"]["parameters"]
    assert after["name"] == "after"
    assert after["required"] is False
    assert "up_to_date" in after["description"]
    page = client.get("/api/docs").content.decode()
    assert "/api/openapi.json" in page
    assert "https://" not in page, "the page loads nothing from elsewhere"


class TestHealth:
    def test_alive(self, client: Client) -> None:
        assert client.get("/healthz").json() == {"status": "ok"}

    @pytest.mark.usefixtures("channel_layer")
    def test_ready_names_each_part(self, client: Client) -> None:
        response = client.get("/readyz")
        assert response.status_code == 200
        checks = {"database": "ok", "event_store": "ok", "channel_layer": "ok"}
        assert response.json()["status"] == "ok"
        assert response.json()["checks"] == checks

    @pytest.mark.usefixtures("channel_layer", "no_event_store")
    def test_not_ready_says_what_is_away(self, client: Client) -> None:
        response = client.get("/readyz")
        assert response.status_code == 503
        assert response.json()["checks"]["event_store"] == "unavailable"
        assert response.json()["checks"]["database"] == "ok"
