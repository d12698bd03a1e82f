"""Lists and pages of the back office: what they are filtered by, and how they are written."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from loans.application import use_cases
from loans.dependencies import event_store
from readmodels.models import LoanRequest, LoanStatus, ParkedCreditCheck, PendingRequest
from tests.support.loans import append_approval, append_denial, append_requested_loan
from tests.support.staff import make_clerk

pytestmark = [
    pytest.mark.django_db,
    # Django's own admin templates use undefined variables.
    pytest.mark.ignore_template_errors,
]

LIST = "/admin/readmodels/loanrequest/"
AT = datetime(2026, 7, 23, 22, 30, tzinfo=UTC)


@pytest.fixture(autouse=True)
def clerk(client: Client) -> None:
    client.force_login(make_clerk())


def loan_request(name: str = "Ann Example", **changes: Any) -> LoanRequest:
    row = {"national_id": "555555aa", "amount": 5000, "status": "approved", "requested_at": AT}
    return LoanRequest.objects.create(id=uuid4(), name=name, **{**row, **changes})


def choices(client: Client, title: str, query: str = "") -> dict[str, str]:
    """The links of a filter, by their names."""
    specs = client.get(LIST + query).context["cl"]
    [spec] = [each for each in specs.filter_specs if each.title == title]
    return {str(each["display"]): each["query_string"] for each in spec.choices(specs)}


def names(client: Client, query: str) -> set[str]:
    answer = client.get(LIST + query)
    assert answer.status_code == 200, (query, answer.headers)
    return {row.name for row in answer.context["cl"].result_list}


class TestFilters:
    @pytest.mark.parametrize(
        ("title", "field"), [("requested at", "requested_at"), ("decision date", "decided_at")]
    )
    def test_yesterday_and_last_week_begin_at_midnight_of_the_zone(
        self, client: Client, settings: Settings, title: str, field: str
    ) -> None:
        settings.TIME_ZONE = "America/New_York"
        today = timezone.localtime().replace(hour=0, minute=0, second=0, microsecond=0)
        monday = today - timedelta(days=today.weekday())
        second = timedelta(seconds=1)
        for name, at in {
            "today": today,
            "end of yesterday": today - second,
            "start of yesterday": today - timedelta(days=1),
            "before yesterday": today - timedelta(days=1) - second,
            "end of last week": monday - second,
            "start of last week": monday - timedelta(days=7),
            "before last week": monday - timedelta(days=7) - second,
        }.items():
            loan_request(name, **{field: at})
        links = choices(client, title)
        of_yesterday = names(client, links["Yesterday"])
        assert {"end of yesterday", "start of yesterday"} <= of_yesterday
        assert of_yesterday.isdisjoint({"today", "before yesterday"})
        of_last_week = names(client, links["Last week"])
        assert {"end of last week", "start of last week"} <= of_last_week
        assert of_last_week.isdisjoint({"today", "before last week"})

    def test_by_outcome(self, client: Client) -> None:
        for name, status, by in (
            ("Ann", "approved", "uma"),
            ("Bob", "approved", ""),
            ("Cyd", "denied", "uma"),
            ("Dan", "denied", ""),
            ("Eve", "received", ""),
            ("Fay", "under_review", ""),
        ):
            loan_request(name, status=status, decided_by=by)
        links = choices(client, "outcome")
        del links["All"]
        assert [names(client, link) for link in links.values()] == [
            {"Eve", "Fay"},
            {"Ann"},
            {"Cyd"},
            {"Bob"},
            {"Dan"},
        ]

    def test_by_underwriter(self, client: Client) -> None:
        loan_request("Ann", decided_by="uma")
        loan_request("Bob", decided_by="otto")
        loan_request("Cyd")
        links = choices(client, "underwriter")
        assert list(links) == ["All", "otto", "uma"]  # None of them is without a name.
        assert names(client, links["uma"]) == {"Ann"}

    def test_by_amount(self, client: Client) -> None:
        for amount in (999, 1000, 4999, 5000, 60_000):
            loan_request(str(amount), amount=amount)
        links = choices(client, "amount")
        assert names(client, links["£1,000 to £4,999"]) == {"1000", "4999"}
        assert names(client, links["£50,000 and more"]) == {"60000"}
        assert names(client, "?amount__gte=1000&amount__lte=5000") == {"1000", "4999", "5000"}
        # A field of the form that is left empty.
        assert names(client, "?amount__gte=5000&amount__lte=") == {"5000", "60000"}
        both = choices(client, "amount", "?status__exact=approved&amount__gte=7")
        assert both["All"] == "?status__exact=approved"
        form = client.get(f"{LIST}?status__exact=approved&amount__gte=7").content.decode()
        assert '<input type="hidden" name="status__exact" value="approved">' in form
        assert 'name="amount__gte" value="7"' in form

    @pytest.mark.parametrize(
        "query", ["?outcome=no-such", "?amount__gte=many", "?decided_at__gte=noon"]
    )
    def test_what_means_nothing_is_no_error_of_the_server(self, client: Client, query: str) -> None:
        assert client.get(LIST + query).status_code in (302, 400)

    def test_every_filter_can_be_taken_back_also_in_an_empty_list(self, client: Client) -> None:
        cl = client.get(f"{LIST}?status__exact=denied&amount__lte=3").context["cl"]
        assert cl.result_count == 0
        for spec in cl.filter_specs:
            first, *_ = spec.choices(cl)
            assert str(first["display"]) in ("All", "Any date")
        html = client.get(LIST).content.decode()
        assert len(re.findall(r">(?:All|Any date)</a>", html)) == len(cl.filter_specs)
        assert not re.search(r"<a[^>]*>\s*</a>", html)


class TestLists:
    def test_times_have_one_format_and_a_zone_that_is_a_setting(
        self, client: Client, settings: Settings
    ) -> None:
        settings.TIME_ZONE = "Europe/London"
        loan_request(decided_at=AT + timedelta(days=120))
        html = client.get(LIST).content.decode()
        assert "23 Jul 2026, 23:30 BST" in html
        assert "20 Nov 2026, 22:30 GMT" in html

    def test_amounts_have_separators_and_the_currency_and_are_sorted_by_number(
        self, client: Client, settings: Settings
    ) -> None:
        settings.CURRENCY = "EUR"
        for amount in (9_000, 10_000, 1_234_567):
            loan_request(amount=amount)
        html = client.get(LIST, {"o": "4"}).content.decode()
        shown = re.findall(r'<td class="field-amount">([^<]+)</td>', html)
        assert shown == ["€9,000", "€10,000", "€1,234,567"]

    def test_an_automatic_decision_says_so(self, client: Client) -> None:
        loan_request(decided_at=AT)
        assert (
            '<td class="field-decided_by">automatic rules</td>' in client.get(LIST).content.decode()
        )

    @pytest.mark.parametrize("model", [LoanRequest, PendingRequest, LoanStatus, ParkedCreditCheck])
    def test_a_page_is_headed_by_a_person_and_an_amount(self, client: Client, model: Any) -> None:
        row = loan_request("Zoë <b>", amount=12_500)
        rows: dict[Any, dict[str, Any]] = {
            PendingRequest: {
                "name": row.name, "national_id": "555555aa", "amount": 12_500, "credit_score": 5,
                "requested_at": AT,
            },
            LoanStatus: {"status": "received", "amount": 12_500, "received_at": AT},
            ParkedCreditCheck: {"reason": "timed out", "attempts": 25, "parked_at": AT},
        }  # fmt: skip
        if model in rows:
            model.objects.create(id=row.id, **rows[model])
        address = f"/admin/readmodels/{model._meta.model_name}/{row.id}"
        html = client.get(f"{address}/change/").content.decode()
        assert "<h1>Zoë &lt;b&gt;, £12,500</h1>" in html
        [crumbs] = re.findall(r'<div class="breadcrumbs">(.*?)</div>', html, re.DOTALL)
        assert "Zoë &lt;b&gt;, £12,500" in crumbs
        [title] = re.findall("<title>(.*?)</title>", html, re.DOTALL)
        assert str(row.id) not in crumbs + title
        assert client.get(f"{address}/history/")["Location"] == f"{address}/change/"


@pytest.mark.usefixtures("streams")
class TestHistory:
    def who(self, client: Client, loan: UUID) -> list[tuple[str, str]]:
        loan_request()
        LoanRequest.objects.update(id=loan)
        html = client.get(f"{LIST}{loan}/change/").content.decode()
        [table] = re.findall(r'<table class="history">.*?</table>', html, re.DOTALL)
        return re.findall(r"<tr>\s*<td>.*?</td>\s*<td>(.*?)</td>\s*<td>(.*?)</td>", table)

    def test_of_an_automatic_decision(self, client: Client) -> None:
        assert self.who(client, append_requested_loan(score=9).loan_request_id) == [
            ("LoanRequested", "applicant"),
            ("CreditChecked", "credit bureau"),
            ("AutoApproved", "automatic rules"),
        ]
        LoanRequest.objects.all().delete()
        found = self.who(client, append_requested_loan(score=1).loan_request_id)
        assert found[-1] == ("AutoDenied", "automatic rules")

    @pytest.mark.parametrize(
        ("decide", "event"),
        [(append_approval, "ManuallyApproved"), (append_denial, "ManuallyDenied")],
    )
    def test_of_an_underwriters_decision(self, client: Client, decide: Any, event: str) -> None:
        loan = append_requested_loan(score=5).loan_request_id
        decide(loan)
        assert self.who(client, loan)[-2:] == [
            ("ManualReviewRequired", "automatic rules"),
            (event, "uma"),
        ]

    def test_of_a_check_that_was_given_up(self, client: Client) -> None:
        loan = append_requested_loan(score=None).loan_request_id
        use_cases.park_credit_check(
            loan, reason="timed out", attempts=25, now=timezone.now(), event_store=event_store()
        )
        assert self.who(client, loan)[-1] == ("CreditCheckParked", "credit check worker")

    def test_amounts_and_times_are_written_as_everywhere(self, client: Client) -> None:
        loan = append_requested_loan(score=9).loan_request_id
        loan_request()
        LoanRequest.objects.update(id=loan)
        html = client.get(f"{LIST}{loan}/change/").content.decode()
        assert "amount: £5,000" in html
        assert re.search(r"occurred_at: \d+ \w{3} \d{4}, \d\d:\d\d UTC<", html)
