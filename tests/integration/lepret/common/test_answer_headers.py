"""The headers of every answer, whatever made it, through the whole ASGI application."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import pytest
from asgiref.sync import async_to_sync
from asgiref.testing import ApplicationCommunicator
from django.http import HttpRequest, HttpResponse
from django.test import Client, RequestFactory
from pytest_django import Settings

from lepret.asgi import application
from lepret.common.answer_headers import answer_headers, headers_on_every_answer
from tests.support.processes import PATIENCE

POLICY: Final = {
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self' data:",
    "connect-src 'self'",
    "font-src 'self'",
    "form-action 'self'",
    "base-uri 'none'",
    "frame-ancestors 'none'",
}
SOME_LOAN: Final = "b9e84a3c-7a5c-4d7d-9d0f-2f6d7a1c5e11"
STYLE_SHEET: Final = "/static/lepret/lepret.css"
# Its types are missing.
NewCommunicator: Final[Any] = ApplicationCommunicator

Answer = tuple[int, dict[str, str]]


@async_to_sync
async def answer_of(
    served: Any,
    path: str,
    *,
    method: str = "GET",
    query: bytes = b"",
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
) -> Answer:
    """The status and the headers of an answer; the names are in lower case."""
    sent = {"host": "localhost", **(headers or {})}
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": query,
        "headers": [(name.lower().encode(), value.encode()) for name, value in sent.items()],
    }
    communicator: Any = NewCommunicator(served, scope)
    await communicator.send_input({"type": "http.request", "body": body})
    start = await communicator.receive_output(PATIENCE)
    await communicator.wait(PATIENCE)
    pairs = [(name.decode().lower(), value.decode()) for name, value in start["headers"]]
    names = [name for name, _ in pairs if name != "set-cookie"]
    assert sorted(names) == sorted(set(names)), "a header is there twice"
    return start["status"], dict(pairs)


def assert_has_all(headers: Mapping[str, str]) -> None:
    assert set(headers["content-security-policy"].split("; ")) == POLICY
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"
    assert headers["x-frame-options"] == "DENY"
    assert "camera=()" in headers["permissions-policy"]
    assert "access-control-allow-origin" not in headers
    assert headers["cache-control"]


@pytest.mark.parametrize(
    ("status", "path", "options"),
    [
        (200, "/", {}),
        (200, "/healthz", {}),
        (200, "/api/docs", {}),
        (200, "/api/openapi.json", {}),
        (200, STYLE_SHEET, {}),
        (405, STYLE_SHEET, {"method": "POST"}),
        (200, "/static/admin/css/base.css", {}),
        (200, "/static/ninja/swagger-ui.css", {}),
        (302, "/underwriting/", {}),
        (302, "/admin/", {}),
        (301, "/underwriting", {}),
        (400, "/", {"headers": {"host": "elsewhere.example"}}),
        (400, "/", {"query": b"\xff"}),  # refused before there is a request
        (400, "/validate/", {"method": "POST"}),
        (401, "/api/underwriting/queue", {}),
        (403, "/accounts/login/", {"method": "POST"}),  # no token of a form
        (403, "/", {"method": "POST"}),
        (403, "/metrics", {}),
        (404, "/nowhere", {}),
        (404, "/api/nowhere", {}),
        (404, "/static/nowhere.css", {}),
        (405, "/healthz", {"method": "OPTIONS"}),
        (500, f"/loans/{SOME_LOAN}/", {}),
    ],
)
def test_every_kind_of_answer_has_all_of_them(
    settings: Settings, status: int, path: str, options: dict[str, Any]
) -> None:
    settings.READMODELS_DATABASE = "nowhere"
    answer = answer_of(application, path, **options)
    assert answer[0] == status
    assert_has_all(answer[1])


def test_a_request_that_is_too_large_has_them(settings: Settings) -> None:
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 10
    form = {"content-type": "application/x-www-form-urlencoded", "content-length": "11"}
    status, headers = answer_of(application, "/", method="POST", headers=form, body=b"name=a+name")
    assert status in (400, 413)
    assert_has_all(headers)


def test_over_https_browsers_are_told_to_stay_there(settings: Settings) -> None:
    settings.SECURE_HSTS_SECONDS, settings.SECURE_SSL_REDIRECT = 31_536_000, True
    plain = Client().get("/", secure=False)
    assert (plain.status_code, plain["Location"]) == (301, "https://testserver/")
    assert "max-age=31536000" in Client().get("/", secure=True)["Strict-Transport-Security"]


class TestWhatMayBeStored:
    @pytest.mark.parametrize("path", ["/api/openapi.json", "/healthz", "/metrics", "/nowhere"])
    def test_nothing_unless_it_says_so(self, path: str) -> None:
        assert answer_of(application, path)[1]["cache-control"] == "no-store"

    def test_static_files_may(self) -> None:
        assert answer_of(application, STYLE_SHEET)[1]["cache-control"] == "max-age=60, public"

    def test_a_view_may_decide_otherwise(self) -> None:
        def view(request: HttpRequest) -> HttpResponse:
            return HttpResponse(headers={"Cache-Control": "max-age=5"})

        response = answer_headers(view)(RequestFactory().get("/"))
        assert response["Cache-Control"] == "max-age=5"


def test_an_answer_that_django_did_not_make_keeps_its_own_headers() -> None:
    async def refuse(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-type", b"text/plain"), (b"Referrer-Policy", b"no-referrer")]
        await send({"type": "http.response.start", "status": 413, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    status, headers = answer_of(headers_on_every_answer(refuse), "/")
    assert status == 413
    assert headers["content-type"] == "text/plain"
    assert headers["referrer-policy"] == "no-referrer"
    assert_has_all({**headers, "referrer-policy": "same-origin"})
