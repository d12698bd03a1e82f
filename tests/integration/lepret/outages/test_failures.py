"""Wherever in a request a database is away, the answer is 503; what is a mistake stays 500."""

from __future__ import annotations

import logging
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.db import OperationalError, ProgrammingError
from django.test import Client

from lepret.staff.session_store import SessionStore
from readmodels.models import LoanStatus
from tests.support.read_models import ReadModelsDatabase

pytestmark = pytest.mark.django_db


@pytest.fixture
def browser(underwriter: User, client: Client) -> Client:
    """An underwriter's, which is told of errors as a real one is."""
    client.raise_request_exception = False
    return client


@pytest.mark.parametrize("path", ["/", "/nothing-is-here/", "/admin/", "/accounts/login/"])
def test_in_the_session_that_every_page_needs(
    browser: Client, path: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: SessionStore) -> None:
        raise OperationalError("the server closed the connection; secret")

    monkeypatch.setattr(SessionStore, "_get_session_from_db", fail)
    with caplog.at_level(logging.INFO):
        answer = browser.get(path)
    assert answer.status_code == 503
    assert answer["Retry-After"] == "10"
    assert "This page cannot be shown now" in answer.content.decode()
    assert [each.levelname for each in caplog.records] == ["WARNING"], "one line, and no trace"
    assert "secret" not in caplog.text


@pytest.mark.parametrize("read_models", ["sqlite"], indirect=True)
def test_in_a_file_that_is_no_database_any_more(
    browser: Client, read_models: ReadModelsDatabase
) -> None:
    file = Path(urlsplit(read_models.url).path)
    for path in (file, file.with_name(f"{file.name}-wal")):
        path.write_bytes(b"x" * 8192)
    for page in ("/underwriting/", f"/loans/{uuid4()}/", f"/api/loan-requests/{uuid4()}"):
        assert browser.get(page).status_code == 503


def test_a_mistake_is_500(browser: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ProgrammingError("no such column")

    monkeypatch.setattr(LoanStatus.objects.__class__, "of", fail)
    assert browser.get(f"/loans/{uuid4()}/").status_code == 500
