"""Refusals outside of the API's operations."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from django.http import HttpRequest, HttpResponse
from django.test import Client, RequestFactory

from lepret.api.refusals import refusals_are_problems
from lepret.common.api_calls import is_call

LOAN = f"/api/loan-requests/{UUID(int=1)}"
TAKEN = {
    "/api/loan-requests": "POST",
    LOAN: "GET, HEAD",
    f"{LOAN}/approve": "POST",
    f"{LOAN}/deny": "POST",
    "/api/underwriting/queue": "GET, HEAD",
    "/api/openapi.json": "GET, HEAD",
    "/api/docs": "GET, HEAD",
}
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "BREW")


def problem_in(response: Any, status: int) -> Any:
    """The problem document, which must be one of this status."""
    assert response.status_code == status
    assert response["Content-Type"] == "application/problem+json"
    assert response["Content-Length"] == str(len(response.content))
    assert response["Cache-Control"] == "no-store"
    assert "Content-Security-Policy" in response
    problem = response.json()
    assert problem["status"] == status
    assert problem["detail"].endswith(".")
    return problem


@pytest.mark.parametrize(
    "path",
    [
        "/api",
        "/api/",
        "/api/nothing",
        "/api/loan-requests/",
        "/api//loan-requests",
        "/api/docs/",
        "/API/loan-requests",
        "/api/loan-requests/%2e%2e/%00/%ff",
        "/api/admin/",
    ],
)
@pytest.mark.parametrize("method", METHODS)
def test_an_unknown_address(method: str, path: str) -> None:
    client = Client(enforce_csrf_checks=True)
    problem_in(client.generic(method, path), 404)


@pytest.mark.parametrize("accept", ["text/html", "image/png", "application/xml;q=1, */*;q=0", ""])
def test_whatever_the_caller_would_like_to_get(client: Client, accept: str) -> None:
    problem_in(client.get("/api/nothing", headers={"Accept": accept}), 404)
    problem_in(client.get("/api/loan-requests", headers={"Accept": accept}), 405)


WRONG = [(method, path) for path in TAKEN for method in METHODS if method not in TAKEN[path]]


@pytest.mark.parametrize(("method", "path"), WRONG)
def test_a_wrong_method(method: str, path: str) -> None:
    client = Client(enforce_csrf_checks=True)
    response = client.generic(method, path, b"{}", content_type="application/json")
    problem = problem_in(response, 405)
    assert response["Allow"] == TAKEN[path]
    assert TAKEN[path] in problem["detail"]


@pytest.mark.parametrize("path", ["/api/nothing", *TAKEN])
@pytest.mark.parametrize("host", ["evil.example", "a b", "localhost:port", "testserver,testserver"])
def test_another_host(client: Client, path: str, host: str) -> None:
    problem = problem_in(client.get(path, headers={"Host": host}), 400)
    assert "host" in problem["detail"]
    assert host not in problem["detail"]


def test_too_many_parameters(client: Client) -> None:
    problem_in(client.get(f"{LOAN}?{'a=1&' * 300}"), 400)


def test_whatever_else_refuses_a_call() -> None:
    page = HttpResponse("<h1>", status=503, headers={"Retry-After": "7"})
    refuse = refusals_are_problems(lambda _: page)
    response = refuse(RequestFactory().get("/api/nothing"))
    assert response["Content-Type"] == "application/problem+json"
    assert response["Retry-After"] == "7"
    assert b"<h1>" not in response.content


@pytest.mark.parametrize("status", [200, 304, 404])
def test_a_page_stays_a_page(status: int) -> None:
    def page(request: HttpRequest) -> HttpResponse:
        return HttpResponse("<h1>", status=status)

    path = "/nothing" if status == 404 else "/api/docs"
    response = refusals_are_problems(page)(RequestFactory().get(path))
    assert response.content == b"<h1>"


@pytest.mark.parametrize("path", ["/", "/apis/", "/apix", "/loans/api/", "/admin/api/", "/a/pi/"])
def test_what_is_no_call(path: str) -> None:
    assert not is_call(path)
