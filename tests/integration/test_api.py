"""The JSON API, the health endpoints, and what they say when something is away."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.test import Client
from pytest_django import DjangoAssertNumQueries, Settings

from readmodels.live import positions
from readmodels.models import Checkpoint, LoanStatus
from tests.support.api import Caller, application
from tests.support.fakes import FakeCreditBureau
from tests.support.loans import append_approval, append_requested_loan

pytestmark = [pytest.mark.usefixtures("streams"), pytest.mark.django_db]


@pytest.fixture
def anybody() -> Caller:
    """A caller without a token."""
    return Caller()


class TestRequestLoan:
    @pytest.mark.parametrize(
        ("score", "status"), [(9, "approved"), (1, "denied"), (6, "under_review")]
    )
    def test_it_answers_how_the_request_stands_and_where_to_look(
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
        assert "not decided yet" in response.json()["detail"]
        assert open_one["id"] not in response.content.decode()
        assert "Location" not in response

    def test_without_the_credit_bureau_it_is_received_all_the_same(
        self, anybody: Caller, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("loans.web.api.credit_bureau", lambda: FakeCreditBureau(None))
        response = anybody.apply(application())
        assert (response.status_code, response.json()["status"]) == (201, "received")

    @pytest.mark.usefixtures("no_event_store")
    def test_without_the_event_store_it_says_when_to_try_again(self, anybody: Caller) -> None:
        response = anybody.apply(application())
        assert response.status_code == 503
        assert int(response["Retry-After"]) > 0


def known_loan(**columns: Any) -> LoanStatus:
    """One that the read model knows."""
    row = {"status": "approved", "amount": 1, "received_at": datetime.now(UTC)}
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
            "link": f"http://testserver/loans/{loan_request_id}/",
            "up_to_date": True,
        }

    def test_right_after_the_post_it_is_never_404(self, client: Client, settings: Settings) -> None:
        settings.READ_MODEL_WAIT_SECONDS = 0.1
        loan_request_id = append_requested_loan().loan_request_id
        response = self.get(client, loan_request_id)
        assert (response.status_code, response.json()["status"]) == (200, "received")
        assert response.json()["up_to_date"] is False

    def test_what_is_not_there_is_404_at_once(self, client: Client, settings: Settings) -> None:
        settings.READ_MODEL_WAIT_SECONDS = 3600
        response = self.get(client, UUID(int=1))
        assert response.status_code == 404
        assert response["Content-Type"] == "application/problem+json"

    def test_what_is_up_to_date_has_a_tag_and_is_not_sent_again_to_who_has_it(
        self, anybody: Caller
    ) -> None:
        loan = known_loan(revision=3)
        path = f"/loan-requests/{loan.id}"
        assert anybody.get(path)["ETag"] == '"3"'
        for tags in ('"3"', '"1", "3"', 'W/"3"', "*"):
            response = anybody.get(path, **{"If-None-Match": tags})
            assert (response.status_code, response["ETag"]) == (304, '"3"')
            assert response.content == b""
        for tags in ('"2"', "3", "", "nonsense"):
            assert anybody.get(path, **{"If-None-Match": tags}).status_code == 200
        assert anybody.get(path, **{"If-Match": '"2"'}).status_code == 200, "it is for commands"

    def test_what_is_not_up_to_date_has_no_tag(self, anybody: Caller, settings: Settings) -> None:
        settings.READ_MODEL_WAIT_SECONDS = 0.1
        path, ahead = f"/loan-requests/{known_loan(revision=3).id}", {"after": 2**40}
        response = anybody.get(path, ahead, **{"If-None-Match": '"3"'})
        assert (response.status_code, response.json()["up_to_date"]) == (200, False)
        assert "ETag" not in response

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
        return known_loan(status=status)

    def get(self, client: Client, loan: LoanStatus, after: int) -> Any:
        return client.get(f"/api/loan-requests/{loan.id}", {"after": after}).json()

    def test_a_command_is_answered_with_its_position(self) -> None:
        first, second = (Caller().apply(application()).json()["position"] for _ in range(2))
        assert isinstance(first, int)
        assert second > first

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
