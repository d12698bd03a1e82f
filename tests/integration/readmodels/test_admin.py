"""Django admin as the back office uses it: it sees everything and changes nothing."""

from __future__ import annotations

import csv
import io
import re
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.contrib.auth.models import Group, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from pytest_django import DjangoAssertNumQueries

from lepret.staff.roles import UNDERWRITERS
from readmodels.models import (
    Checkpoint,
    Failure,
    LoanRequest,
    ParkedCreditCheck,
    Rebuild,
    SearchWord,
    SkippedEvent,
)
from readmodels.pages.search import MOST_LISTED
from readmodels.projections import PROJECTIONS
from readmodels.projections.search_words import words_of
from tests.support.api import application
from tests.support.back_office import IN_BACK_OFFICE
from tests.support.known_policies import known
from tests.support.loans import append_event
from tests.support.projection_statuses import checkpoint, failure, rebuild, skipped_event
from tests.support.staff import make_clerk, make_underwriter

pytestmark = [
    pytest.mark.usefixtures("streams"),
    pytest.mark.django_db,
    # Django's own admin templates use undefined variables.
    pytest.mark.ignore_template_errors,
]

AT = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)


def url(model: Any, page: str = "") -> str:
    return f"/admin/readmodels/{model._meta.model_name}/{page}"


def loan_request(name: str = "Ann Example", **changes: Any) -> LoanRequest:
    row = {"national_id": "555555aa", "amount": 5000, "status": "approved", "requested_at": AT}
    return LoanRequest.objects.create(id=uuid4(), name=name, **{**row, **changes})


def have_words(request_id: UUID, name: str, national_id: str) -> None:
    """Make a request one that is found."""
    SearchWord.objects.bulk_create(
        SearchWord(request_id=request_id, word=word) for word in words_of(name, national_id)
    )


@pytest.fixture
def clerk(client: Client) -> User:
    user = make_clerk()
    client.force_login(user)
    return user


@pytest.mark.usefixtures("clerk")
class TestBackOffice:
    @pytest.mark.parametrize("model", IN_BACK_OFFICE)
    def test_it_sees_every_list(self, client: Client, model: Any) -> None:
        assert client.get(url(model)).status_code == 200

    def test_it_finds_by_name_national_id_and_id(self, client: Client) -> None:
        ann = loan_request("Ann Example", national_id="123456aa")
        bob = loan_request("Bob Builder", national_id="654321bb")
        for row in (ann, bob):
            have_words(row.id, row.name, row.national_id)
        for words in ("ann", "123456aa", str(ann.id)):
            found = client.get(url(LoanRequest), {"q": words}).context["cl"].result_list
            assert [row.id for row in found] == [ann.id]

    def test_of_very_many_hits_it_lists_the_first_and_says_so(self, client: Client) -> None:
        rows = LoanRequest.objects.bulk_create(
            LoanRequest(id=uuid4(), name="Ann", amount=number, requested_at=AT)
            for number in range(MOST_LISTED + 1)
        )
        SearchWord.objects.bulk_create(SearchWord(request_id=row.id, word="ann") for row in rows)

        response = client.get(url(LoanRequest), {"q": "ann", "o": "-4"})
        narrowed = client.get(url(LoanRequest), {"q": "ann", "amount": "7"})

        changes = response.context["cl"]
        assert (changes.result_count, changes.result_list[0].amount) == (MOST_LISTED, MOST_LISTED)
        assert f"more than {MOST_LISTED:,}" in response.content.decode()
        assert [row.amount for row in narrowed.context["cl"].result_list] == [7]
        assert "more than" not in narrowed.content.decode()

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
        form = application(score=5, name="Zoë <b>")
        client.post("/", form)
        row = loan_request("Zoë <b>")
        LoanRequest.objects.filter(id=row.id).update(id=UUID(form["id"]))

        html = client.get(url(LoanRequest, f"{form['id']}/change/")).content.decode()

        for shown in ("LoanRequested", "CreditChecked", "ManualReviewRequired", "applicant"):
            assert shown in html
        assert "name: Zoë &lt;b&gt;" in html

    def test_only_underwriters_are_led_to_their_page(self, client: Client, clerk: User) -> None:
        row = loan_request()
        address = f'href="/underwriting/{row.id}/"'
        assert address not in client.get(url(LoanRequest, f"{row.id}/change/")).content.decode()
        clerk.groups.add(Group.objects.get(name=UNDERWRITERS))
        assert address in client.get(url(LoanRequest, f"{row.id}/change/")).content.decode()

    def test_it_sees_who_decided_why_and_under_which_policy(self, client: Client) -> None:
        known(3)
        row = loan_request(
            amount=20_000,
            status="denied",
            credit_score=5,
            decided_at=AT,
            decided_by="uma",
            together_with=["una"],
            reasons=["too_much_debt", "other"],
            reason_text="We know <the> house.",
            policy=3,
            factors=["short_history"],
        )
        html = client.get(url(LoanRequest, f"{row.id}/change/")).content.decode()
        for shown in (
            "una and uma",
            "Debt, Another reason, “We know &lt;the&gt; house.”",
            "You have borrowed only lately.",
            "Denied by two underwriters on 23 November 2026 under policy 3, for these reasons:",
        ):
            assert shown in html
        assert "una and uma" in client.get(url(LoanRequest)).content.decode()

    def test_it_finds_where_underwriters_had_different_opinions(self, client: Client) -> None:
        loan_request("Ann")
        loan_request("Bob", disagreement=True)
        found = client.get(url(LoanRequest), {"disagreement__exact": "1"}).context["cl"]
        assert [row.name for row in found.result_list] == ["Bob"]

    @pytest.mark.usefixtures("no_event_store")
    def test_without_the_event_store_the_rest_of_a_loan_is_still_shown(
        self, client: Client
    ) -> None:
        html = client.get(url(LoanRequest, f"{loan_request().id}/change/")).content.decode()
        assert "The event store does not answer" in html
        assert "Ann Example" in html

    def test_it_sees_parked_credit_checks_why_and_what_to_do(self, client: Client) -> None:
        row = loan_request(status="received", parked_because="timed out")
        ParkedCreditCheck.objects.create(id=row.id, reason="timed out", attempts=25, parked_at=AT)

        html = client.get(url(ParkedCreditCheck)).content.decode()

        of_the_loan = url(LoanRequest, f"{row.id}/change/")
        assert "timed out" in html
        assert f'<a href="{of_the_loan}">' in html
        assert "manage.py check_credit --replay-parked" in html
        assert "timed out" in client.get(of_the_loan).content.decode()

    def test_rows_are_exported_as_csv_that_no_spreadsheet_runs(self, client: Client) -> None:
        row = loan_request("=1+1")
        export = {"action": "export_as_csv", "_selected_action": [str(row.id)]}
        response: Any = client.post(url(LoanRequest), export)
        text = b"".join(response.streaming_content).decode()
        [exported] = csv.DictReader(io.StringIO(text.removeprefix("\ufeff")))
        assert exported["name"] == "'=1+1"
        assert exported["amount"] == "5000"
        assert exported["id"] == str(row.id)


@pytest.mark.usefixtures("clerk")
class TestProjections:
    def cells(self, client: Client, column: str) -> list[str]:
        """What the list of checkpoints shows in a column."""
        html = client.get(url(Checkpoint)).content.decode()
        return re.findall(rf'<td class="field-{column}">(.*?)</td>', html)

    def test_a_checkpoint_says_how_its_projection_stands(self, client: Client) -> None:
        append_event("SomethingHappened")
        checkpoint("loan_requests", 0)
        checkpoint("loan_status", 2**60, version=0)
        checkpoint("parked_credit_checks", 2**60)
        failure("loan_requests")
        assert self.cells(client, "state") == ["stopped", "new version waiting", "level"]
        names = ("loan_requests", "loan_status", "parked_credit_checks")
        versions = [PROJECTIONS[name].version for name in names]
        assert self.cells(client, "versions") == [
            f"{versions[0]} ({versions[0]})",
            f"0 ({versions[1]})",
            f"{versions[2]} ({versions[2]})",
        ]
        behind, *level = self.cells(client, "lag_in_seconds")
        assert float(behind) >= 0.0
        assert level == ["0.0", "0.0"]
        assert int(self.cells(client, "lag_in_events")[0].removesuffix(" or more")) > 0
        assert "KeyError in loan_status.py:30" in self.cells(client, "last_error")[0]
        page = client.get(url(Checkpoint, "loan_status/change/")).content.decode()
        assert "new version waiting" in page

    def test_all_of_them_are_read_at_once(
        self, client: Client, django_assert_num_queries: DjangoAssertNumQueries
    ) -> None:
        checkpoint("loan_status", 1)
        with CaptureQueriesContext(connection) as of_one:
            client.get(url(Checkpoint))
        checkpoint("loan_requests", 1)
        checkpoint("underwriters_queue", 1)
        with django_assert_num_queries(len(of_one)):
            client.get(url(Checkpoint))

    def test_what_is_not_built_is_named(self, client: Client) -> None:
        checkpoint("loan_status", 1)
        html = client.get(url(Checkpoint)).content.decode()
        others = sorted(PROJECTIONS.keys() - {"loan_status"})
        assert f"Not built yet: {', '.join(others)}" in html

    def test_a_checkpoint_without_a_projection_is_called_left_over(self, client: Client) -> None:
        Checkpoint.objects.create(name="gone", position=1)
        assert self.cells(client, "state") == ["left over: there is no such projection any more"]

    @pytest.mark.usefixtures("no_event_store")
    def test_without_the_event_store_the_rest_is_still_shown(self, client: Client) -> None:
        checkpoint("loan_status", 5)
        assert self.cells(client, "state") == ["unknown"]
        assert self.cells(client, "lag_in_seconds") == ["unknown: the event store does not answer"]
        assert self.cells(client, "position") == ["5"]

    def test_the_first_page_says_what_stands_still(self, client: Client) -> None:
        failure("loan_requests", in_rebuild=True)
        assert "Stands still" not in client.get("/admin/").content.decode()
        failure("loan_status")
        checkpoint("loan_requests", 0, store_replaced=True)
        page = client.get("/admin/").content.decode()
        assert "Stands still: loan_status." in page
        assert "since the event store went back, or is another one: loan_requests." in page

    def test_failures_rebuilds_and_skipped_events_are_listed(self, client: Client) -> None:
        failure("loan_status")
        failure("loan_requests", in_rebuild=True)
        rebuild("loan_requests", 5)
        skipped_event("loan_status")
        failures = client.get(url(Failure)).content.decode()
        assert "Projections that stand still" in failures
        assert "rebuild of loan_requests" in failures
        assert "sent twice by mistake" in client.get(url(SkippedEvent)).content.decode()
        assert "loan_requests" in client.get(url(Rebuild)).content.decode()


@pytest.mark.parametrize("who", ["clerk", "superuser"])
@pytest.mark.parametrize("model", IN_BACK_OFFICE)
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


@pytest.mark.parametrize("model", IN_BACK_OFFICE)
def test_underwriters_and_other_staff_do_not_see_it(client: Client, model: Any) -> None:
    client.force_login(User.objects.create_user("staff", is_staff=True))
    assert client.get(url(model)).status_code == 403
    client.force_login(make_underwriter())
    assert client.get(url(model)).status_code == 302
