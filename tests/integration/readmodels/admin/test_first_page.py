"""The first page of the back office: the work first, and what needs somebody."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.db import connections
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries, Settings

from readmodels.models import LoanRequest, ParkedCreditCheck
from readmodels.pages.figures import Figure, read_figures
from tests.support.projection_statuses import failure
from tests.support.read_models import ReadModelsDatabase
from tests.support.staff import make_clerk

pytestmark = [
    pytest.mark.django_db,
    # Django's own admin templates use undefined variables.
    pytest.mark.ignore_template_errors,
]


@pytest.fixture(autouse=True)
def clerk(client: Client) -> None:
    client.force_login(make_clerk())


def request_at(requested_at: datetime, status: str = "under_review", **changes: Any) -> LoanRequest:
    row = {"name": "Ann Example", "national_id": "555555aa", "amount": 5000, "status": status}
    return LoanRequest.objects.create(id=uuid4(), requested_at=requested_at, **{**row, **changes})


def decided(at: datetime, status: str, by: str = "") -> None:
    request_at(at - timedelta(days=9), status, decided_at=at, decided_by=by)


def page(client: Client, path: str = "/admin/") -> str:
    return client.get(path).content.decode()


def counts(figures: list[Figure]) -> dict[str, int]:
    return {figure.name: figure.count for figure in figures}


def test_it_counts_by_status_and_what_happened_today() -> None:
    now = timezone.localtime().replace(hour=12)
    yesterday = now - timedelta(days=1)
    request_at(now, "received")
    request_at(yesterday)
    request_at(yesterday, gone_at=now)  # Nobody waits for that.
    decided(now, "approved", by="uma")
    decided(now, "denied")
    decided(now, "denied", by="uma")
    decided(yesterday, "approved")

    figures = read_figures(now)

    by_status = {"Received": 1, "Under review": 2, "Approved": 2, "Denied": 2}
    assert counts(figures.by_status) == by_status
    assert counts(figures.today) == {"Received": 1, "Approved": 1, "Denied": 2, "Waiting now": 2}


def test_each_figure_leads_to_the_list_of_what_it_counts(client: Client) -> None:
    now = timezone.localtime().replace(hour=12)
    for status in ("received", "under_review"):
        request_at(now, status)
        request_at(now - timedelta(days=1), status)
    for status in ("approved", "denied"):
        decided(now, status)
        decided(now - timedelta(days=1), status, by="uma")
    links = re.findall(r'href="(/admin/readmodels/loanrequest/\?\S+)"><strong>(\d+)', page(client))
    assert len(links) == 8
    for link, count in links:
        rows = client.get(link.replace("&amp;", "&")).context["cl"].result_count
        assert rows == int(count), link


def test_days_begin_at_midnight_of_the_setting(settings: Settings) -> None:
    settings.TIME_ZONE = "Asia/Tokyo"
    now = timezone.localtime(datetime.fromisoformat("2026-11-28T23:30:00Z"))  # 08:30 on the 29th
    request_at(datetime.fromisoformat("2026-11-28T15:00:00Z"))
    request_at(datetime.fromisoformat("2026-11-28T14:59:59Z"))
    assert counts(read_figures(now).today)["Received"] == 1


def test_what_needs_somebody_is_linked_to_its_list(client: Client) -> None:
    assert "Nothing at the moment" in page(client)
    row = request_at(timezone.now(), "received")
    ParkedCreditCheck.objects.create(
        id=row.id, reason="timed out", attempts=25, parked_at=timezone.now()
    )
    failure("loan_status")
    failure("loan_requests", in_rebuild=True)
    html = page(client)
    assert "Nothing at the moment" not in html
    assert '<a href="/admin/readmodels/parkedcreditcheck/">1 parked credit check</a>' in html
    for query, name in (("0", "loan_status"), ("1", "rebuild of loan_requests")):
        link = f"/admin/readmodels/failure/?in_rebuild__exact={query}"
        assert f'<a href="{link}">' in html
        [found] = re.findall(r'"field-stopped"[^>]*>(?:<a[^>]*>)?([^<]+)', page(client, link))
        assert found == name


def test_the_work_comes_before_the_system_which_is_explained(client: Client) -> None:
    html = page(client)
    names = re.findall(r'<th scope="row"><a[^>]*>([^<]+)', html)
    assert names[:2] == ["Loan requests", "Parked credit checks"]
    work, system = html.index(">Work<"), html.index(">System<")
    assert work < html.index('href="/admin/readmodels/loanrequest/">Loan requests<') < system
    for name in ("checkpoint", "failure", "skippedevent", "rebuild", "loanstatus"):
        assert html.index(f'href="/admin/readmodels/{name}/">') > system
    assert len(re.findall(r"<td>[A-Z][^<]+\.</td>", html)) == len(names)


def test_a_superuser_sees_staff_and_tokens_too(client: Client) -> None:
    client.force_login(User.objects.create_superuser("root"))
    html = page(client)
    assert html.index(">Work<") < html.index(">Lending policy<") < html.index(">Staff<")
    assert html.index(">Staff<") < html.index(">Users<")
    assert html.index(">Users<") < html.index(">System<") < html.index(">API tokens<")
    assert len(re.findall(r"<td>[A-Z][^<]+\.</td>", html)) == 12


def test_who_is_neither_learns_nothing(client: Client) -> None:
    client.force_login(User.objects.create_user("staff", is_staff=True))
    html = page(client)
    assert "Your account may see nothing here." in html
    assert "Under review" not in html


def test_it_takes_few_queries_however_many_rows(
    client: Client, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    for minute in range(60):
        request_at(timezone.now() - timedelta(minutes=minute))
        failure(f"projection_{minute}")
    with django_assert_num_queries(6):
        read_figures(timezone.localtime())
    # The session, its time of the last request, the user, the groups, and the figures.
    with django_assert_num_queries(10):
        client.get("/admin/")


def test_it_counts_in_the_read_models_own_database(
    client: Client, read_models: ReadModelsDatabase
) -> None:
    request_at(timezone.now())
    assert LoanRequest.objects.using(read_models.alias).count() == 1
    assert "<strong>1</strong> Under review" in page(client)


def test_without_that_database_the_page_still_opens(
    client: Client, read_models: ReadModelsDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_models.forget_connections()
    settings_of_connection = connections[read_models.alias].settings_dict
    monkeypatch.setitem(settings_of_connection, "NAME", "/nowhere/at/all")
    answer = client.get("/admin/")
    assert answer.status_code == 200
    assert "database does not answer" in answer.content.decode()
    assert 'href="/admin/readmodels/loanrequest/">' in answer.content.decode()
    read_models.forget_connections()
