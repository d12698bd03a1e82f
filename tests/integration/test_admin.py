"""Django admin as the back office uses it: everything to be seen, nothing to be changed."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.contrib.auth.models import User
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from readmodels.models import Checkpoint, LoanRequest, LoanStatus, PendingRequest
from tests.support.staff import make_clerk, make_underwriter

pytestmark = [
    pytest.mark.usefixtures("streams"),
    pytest.mark.django_db,
    # Django's own admin templates use undefined variables.
    pytest.mark.ignore_template_errors,
]

AT = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)
MODELS = (LoanRequest, PendingRequest, LoanStatus, Checkpoint)


def url(model: Any, page: str = "") -> str:
    return f"/admin/readmodels/{model._meta.model_name}/{page}"


def loan_request(name: str = "Ann Example", **changes: Any) -> LoanRequest:
    row = {"national_id": "555555aa", "amount": 5000, "status": "approved", "requested_at": AT}
    return LoanRequest.objects.create(id=uuid4(), name=name, **{**row, **changes})


@pytest.fixture
def clerk(client: Client) -> User:
    user = make_clerk()
    client.force_login(user)
    return user


@pytest.mark.usefixtures("clerk")
class TestBackOffice:
    @pytest.mark.parametrize("model", MODELS)
    def test_it_sees_every_list(self, client: Client, model: Any) -> None:
        assert client.get(url(model)).status_code == 200

    def test_it_finds_by_name_national_id_and_id(self, client: Client) -> None:
        ann = loan_request("Ann Example", national_id="123456aa")
        loan_request("Bob Builder", national_id="654321bb")
        for words in ("ann", "123456aa", str(ann.id)):
            found = client.get(url(LoanRequest), {"q": words}).context["cl"].result_list
            assert [row.id for row in found] == [ann.id]

    def test_it_filters_and_sorts(self, client: Client) -> None:
        for number, status in enumerate(("approved", "denied", "approved")):
            loan_request(f"Number {number}", status=status, amount=number)
        query = {"status__exact": "approved", "o": "-4"}
        found = client.get(url(LoanRequest), query).context["cl"].result_list
        assert [row.name for row in found] == ["Number 2", "Number 0"]

    def test_a_list_of_many_takes_as_many_queries_as_a_list_of_one(
        self, client: Client, django_assert_max_num_queries: DjangoAssertNumQueries
    ) -> None:
        for number in range(60):
            loan_request(f"Number {number}", requested_at=AT + timedelta(minutes=number))
        with django_assert_max_num_queries(12):
            client.get(url(LoanRequest))

    def test_it_reads_the_whole_history_of_a_loan_from_the_event_store(
        self, client: Client
    ) -> None:
        form = {"id": str(uuid4()), "name": "Zoë <b>", "national_id": "555555aa", "amount": "7"}
        client.post("/", {**form, "address": ""})
        row = loan_request("Zoë <b>")
        LoanRequest.objects.filter(id=row.id).update(id=UUID(form["id"]))

        html = client.get(url(LoanRequest, f"{form['id']}/change/")).content.decode()

        for shown in ("LoanRequested", "CreditChecked", "ManualReviewRequired", "applicant"):
            assert shown in html
        assert "name: Zoë &lt;b&gt;" in html

    @pytest.mark.usefixtures("no_event_store")
    def test_without_the_event_store_the_rest_of_a_loan_is_still_shown(
        self, client: Client
    ) -> None:
        html = client.get(url(LoanRequest, f"{loan_request().id}/change/")).content.decode()
        assert "The event store does not answer" in html
        assert "Ann Example" in html

    def test_checkpoints_have_a_position_and_a_lag(self, client: Client) -> None:
        client.post("/", {"id": str(uuid4()), "name": "Ann", "national_id": "9" * 6 + "aa",
                          "amount": "7", "address": ""})  # fmt: skip
        Checkpoint.objects.create(name="behind", position=0)
        Checkpoint.objects.create(name="level", position=2**60)
        html = client.get(url(Checkpoint)).content.decode()
        assert str(2**60) in html.replace(",", "")
        assert '<td class="field-lag_in_seconds">0.0</td>' in html
        assert html.count('<td class="field-lag_in_seconds">') == 2

    def test_rows_are_exported_as_csv_that_no_spreadsheet_runs(self, client: Client) -> None:
        row = loan_request("=1+1")
        export = {"action": "export_as_csv", "_selected_action": [str(row.id)]}
        response: Any = client.post(url(LoanRequest), export)
        text = b"".join(response.streaming_content).decode()
        [exported] = csv.DictReader(io.StringIO(text))
        assert exported["name"] == "'=1+1"
        assert exported["amount"] == "5000"
        assert exported["id"] == str(row.id)


@pytest.mark.parametrize("who", ["clerk", "superuser"])
@pytest.mark.parametrize("model", MODELS)
def test_nobody_adds_changes_or_deletes(client: Client, who: str, model: Any) -> None:
    superuser = who == "superuser"
    client.force_login(User.objects.create_superuser("root") if superuser else make_clerk())
    row = loan_request() if model is LoanRequest else Checkpoint.objects.create(name="x")
    page = url(type(row), f"{row.pk}/")
    statuses = [
        client.get(url(model, "add/")).status_code,
        client.post(url(model, "add/")).status_code,
        client.post(f"{page}change/", {"name": "changed"}).status_code,
        client.post(f"{page}delete/", {"post": "yes"}).status_code,
    ]
    assert statuses == [403, 403, 403, 403]
    assert "delete_selected" not in client.get(url(model)).content.decode()


@pytest.mark.parametrize("model", MODELS)
def test_underwriters_and_other_staff_do_not_see_it(client: Client, model: Any) -> None:
    client.force_login(User.objects.create_user("staff", is_staff=True))
    assert client.get(url(model)).status_code == 403
    client.force_login(make_underwriter())
    assert client.get(url(model)).status_code == 302
