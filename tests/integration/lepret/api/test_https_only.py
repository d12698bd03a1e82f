"""Where HTTPS is demanded, the API refuses plain HTTP, and pages are redirected."""

from __future__ import annotations

import pytest
from django.test import Client
from pytest_django import Settings


@pytest.fixture(autouse=True)
def https_is_demanded(settings: Settings) -> None:
    settings.SECURE_SSL_REDIRECT = True
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")


@pytest.mark.parametrize("method", ["get", "post", "put", "options"])
@pytest.mark.parametrize("path", ["/api/loan-requests", "/api/queue", "/api/nothing"])
def test_a_call_over_plain_http_is_refused(client: Client, method: str, path: str) -> None:
    headers = {"Authorization": "Bearer lepret_secret"}
    response = getattr(client, method)(path, headers=headers)
    assert response.status_code == 403
    assert response["Content-Type"] == "application/problem+json"
    assert "HTTPS" in response.json()["detail"]
    assert "lepret_secret" not in response.text


def test_a_call_over_https_is_answered(client: Client) -> None:
    assert client.get("/api/nothing", secure=True).status_code == 404
    forwarded = client.get("/api/nothing", headers={"X-Forwarded-Proto": "https"})
    assert forwarded.status_code == 404


@pytest.mark.parametrize("path", ["/", "/api/docs", "/admin/"])
def test_a_page_is_redirected(client: Client, path: str) -> None:
    response = client.get(path)
    assert (response.status_code, response["Location"]) == (301, f"https://testserver{path}")


def test_plain_http_is_answered_where_it_is_allowed(client: Client, settings: Settings) -> None:
    settings.SECURE_SSL_REDIRECT = False
    assert client.get("/api/nothing").status_code == 404
