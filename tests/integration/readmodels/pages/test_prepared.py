"""Queries whose SQL is put together once, on both databases."""

from __future__ import annotations

import threading
from datetime import timedelta
from uuid import uuid4

import pytest
from django.db import connections
from django.db.models.sql.compiler import SQLCompiler

from readmodels.models import LoanRequest
from readmodels.pages.prepared import PreparedQuery
from tests.support.loans import AT
from tests.support.read_models import ReadModelsDatabase


def decided(by: str, *, days: int = 0) -> LoanRequest:
    return LoanRequest.objects.create(
        id=uuid4(),
        status="approved",
        amount=7,
        requested_at=AT,
        decided_at=AT + timedelta(days=days),
        decided_by=by,
    )


def test_it_finds_what_the_query_finds(read_models: ReadModelsDatabase) -> None:
    first = decided("uma")
    queryset = LoanRequest.objects.order_by("decided_by").values_list("id", "decided_at", "votes")
    query = PreparedQuery(queryset)
    assert query.rows() == [(first.id, AT, [])]
    decided("ursula")
    assert len(query.rows()) == 2
    assert query.rows() == list(queryset.all())


def test_its_values_stay_the_same(read_models: ReadModelsDatabase) -> None:
    for by, days in (("uma", 0), ("uma", 1), ("ursula", 1), ("", 1)):
        decided(by, days=days)
    counted = PreparedQuery(LoanRequest.objects.decisions_of_people(AT + timedelta(hours=1)))
    assert dict(counted.rows()) == {"uma": 1, "ursula": 1}
    decided("uma", days=2)
    assert dict(counted.rows()) == {"uma": 2, "ursula": 1}


def test_its_sql_is_put_together_once(
    read_models: ReadModelsDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = decided("uma")
    query = PreparedQuery(LoanRequest.objects.values_list("id"))
    assert query.rows() == [(first.id,)]
    monkeypatch.delattr(SQLCompiler, "as_sql")
    assert query.rows() == [(first.id,)]


def test_another_thread_asks_over_a_connection_of_its_own(read_models: ReadModelsDatabase) -> None:
    first = decided("uma")
    query = PreparedQuery(LoanRequest.objects.values_list("id"))
    query.rows()
    found: list[tuple[object, ...]] = []

    def ask() -> None:
        found.extend(query.rows())
        connections.close_all()

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    assert found == [(first.id,)]
