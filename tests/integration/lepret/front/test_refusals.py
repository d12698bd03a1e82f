"""What the web server itself refuses is a problem document under `/api/`, and HEAD is like GET."""

from __future__ import annotations

import gzip
from contextlib import ExitStack

import pytest

from tests.support.raw_http import Answer, connected
from tests.support.web_servers import Daphne

PROBLEM = "application/problem+json"
JSON = "Content-Type: application/json"
URLENCODED = "Content-Type: application/x-www-form-urlencoded"


def assert_is_problem(answer: Answer, status: int) -> None:
    assert answer.status == status
    assert answer.headers["content-type"] == PROBLEM
    assert answer.json()["status"] == status
    assert "permissions-policy" in answer.headers


@pytest.mark.parametrize("path", ["/api/loan-requests", "/%61pi/x", "/API/x", "//api/x"])
@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (400, ["No colon"]),
        (400, ["B@d: x"]),
        (400, ["Content-Length: -1"]),
        (400, ["Transfer-Encoding: gzip, chunked"]),
        (413, ["Content-Length: 65537"]),
        (431, ["X: " + "a" * 16_380]),
        (431, ["X: " + "a" * 40_000]),
        (431, ["X: a"] * 101),
    ],
)
def test_a_request_that_cannot_be_taken(
    web: Daphne, path: str, status: int, headers: list[str]
) -> None:
    for target in (path, f"http://127.0.0.1:{web.port}{path}"):
        with connected(web) as connection:
            assert_is_problem(connection.ask(f"POST {target}", *headers), status)


@pytest.mark.parametrize("length", [9_000, 40_000])
def test_an_address_that_is_too_long(web: Daphne, length: int) -> None:
    with connected(web) as connection:
        answer = connection.ask(f"GET /api/{'a' * length}")
    assert_is_problem(answer, 414)
    with connected(web) as connection:
        page = connection.ask(f"GET /{'a' * length}")
    assert (page.status, page.headers["content-type"]) == (414, "text/html; charset=utf-8")


def test_a_first_line_that_is_none(web: Daphne) -> None:
    with connected(web) as connection:
        connection.send(b"GET /api/nothing HTTP/1.1 or 2\r\n\r\n")
        assert_is_problem(connection.answer(), 400)


def test_a_second_request_on_a_connection_is_answered_for_itself(web: Daphne) -> None:
    with connected(web) as connection:
        assert connection.ask("GET /api/nothing").status == 404
        page = connection.ask("GET /nothing", "No colon")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    with connected(web) as connection:
        assert connection.ask("GET /healthz").status == 200
        assert_is_problem(connection.ask("GET /api/nothing", "No colon"), 400)


def test_a_request_that_takes_too_long(web: Daphne) -> None:
    with connected(web) as connection:
        connection.send(connection.head("POST /api/loan-requests", "Content-Length: 9"))
        assert_is_problem(connection.answer(), 408)


def test_a_connection_too_many(web: Daphne) -> None:
    with ExitStack() as stack:
        address = "127.0.0.21"
        for _ in range(20):
            held = stack.enter_context(connected(web, address))
            assert held.ask("GET /healthz").status == 200
        with connected(web, address) as connection:
            assert_is_problem(connection.ask("GET /api/nothing"), 503)
        with connected(web, address) as connection:
            page = connection.ask("GET /")
    assert (page.status, page.headers["content-type"]) == (503, "text/html; charset=utf-8")


def test_the_api_has_no_websockets(web: Daphne) -> None:
    with connected(web) as connection:
        assert_is_problem(connection.open_socket("/api/nothing"), 404)


@pytest.mark.parametrize("host", ["evil.example", "[::1", "a b"])
def test_another_host(web: Daphne, host: str) -> None:
    with connected(web) as connection:
        connection.send(f"GET /api/nothing HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        assert_is_problem(connection.answer(), 400)


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd"])
def test_a_compressed_body(web: Daphne, coding: str) -> None:
    body = gzip.compress(bytes(1_000_000))
    headers = [f"Content-Encoding: {coding}", f"Content-Length: {len(body)}"]
    with connected(web) as connection:
        answer = connection.ask("POST /api/loan-requests", JSON, *headers, body=body)
        form = connection.ask("POST /", URLENCODED, *headers, body=body)
    assert_is_problem(answer, 415)
    assert form.status == 415
    assert answer.headers["accept-encoding"] == form.headers["accept-encoding"] == "identity"


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/healthz",
        "/readyz",
        "/accounts/login/",
        "/underwriting/",
        "/static/lepret/lepret.css",
        "/nothing",
        "/api/openapi.json",
        "/api/docs",
        "/api/underwriting/queue",
        "/api/loan-requests",
        "/api/loan-requests/x",
        "/api/nothing",
    ],
)
def test_head_is_answered_like_get_without_a_body(web: Daphne, path: str) -> None:
    with connected(web) as connection:
        get = connection.ask(f"GET {path}")
        head = connection.ask(f"HEAD {path}")
        # What comes next is the next answer: there was no body.
        assert connection.ask("GET /healthz").status == 200
    assert head.status == get.status
    assert known(head) == known(get)
    assert head.headers["content-length"] == str(len(get.body))


def test_head_of_the_metrics_which_change_all_the_time(web: Daphne) -> None:
    with connected(web) as connection:
        assert connection.ask("HEAD /metrics").status == 200
        assert connection.ask("GET /healthz").json() == {"status": "ok"}


def known(answer: Answer) -> dict[str, str]:
    """The headers, without those that differ from one answer to the next."""
    varying = ("set-cookie", "expires")
    return {name: each for name, each in answer.headers.items() if name not in varying}
