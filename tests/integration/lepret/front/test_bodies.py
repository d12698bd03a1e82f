"""How large a request may be, whatever it asks for and however it is sent."""

from __future__ import annotations

import json
from typing import Final

import pytest

from tests.integration.lepret.front.conftest import memory_of
from tests.support.raw_http import connected
from tests.support.web_servers import Daphne

LIMIT: Final = 65_536

STARTS: Final = (
    "POST /",
    "POST /validate/",
    "POST /admin/",
    "POST /admin/login/",
    "POST /accounts/login/",
    "POST /api/loan-requests",
    "PUT /api/loan-requests",
    "PATCH /nowhere",
    "DELETE /api/nowhere",
    "GET /",
    "HEAD /healthz",
    "OPTIONS /static/lepret/lepret.css",
    "BREW /coffee",
)
TYPES: Final = (
    "application/json",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=b",
    "text/plain",
)


@pytest.mark.parametrize("content_type", TYPES)
@pytest.mark.parametrize("start", STARTS)
def test_a_body_that_is_announced_as_too_large_is_refused_unread(
    web: Daphne, start: str, content_type: str
) -> None:
    with connected(web) as connection:
        answer = connection.ask(
            start, f"Content-Length: {LIMIT + 1}", f"Content-Type: {content_type}"
        )

    assert (answer.status, answer.closed) == (413, True)


@pytest.mark.parametrize("start", STARTS)
def test_a_body_in_chunks_is_refused_once_it_has_grown_too_large(web: Daphne, start: str) -> None:
    with connected(web) as connection:
        connection.send(connection.head(start, "Transfer-Encoding: chunked"))
        connection.send(b"8000\r\n" + b"a" * 0x8000 + b"\r\n")
        connection.send(b"8001\r\n" + b"a" * 0x8001 + b"\r\n")  # The last chunk is never sent.
        answer = connection.answer(with_body=not start.startswith("HEAD"))

    assert (answer.status, answer.closed) == (413, True)


@pytest.mark.parametrize("megabytes", [1, 20])
def test_a_client_that_sends_all_of_it_can_read_why_it_was_refused(
    web: Daphne, megabytes: int
) -> None:
    with connected(web) as connection:
        body = bytes(megabytes * 1_000_000)
        answer = connection.ask("POST /validate/", f"Content-Length: {len(body)}", body=body)

    assert answer.status == 413
    assert b"The body is too large." in answer.body


def test_the_api_refuses_with_a_problem_document(web: Daphne) -> None:
    with connected(web) as connection:
        answer = connection.ask("POST /api/loan-requests", "Content-Length: 20000000")

    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json() == {
        "type": "about:blank",
        "title": "Content Too Large",
        "status": 413,
        "detail": "The body is too large.",
        "errors": [],
    }


def test_a_client_that_asks_first_is_told_before_it_sends_anything(web: Daphne) -> None:
    with connected(web) as connection:
        answer = connection.ask(
            "POST /api/loan-requests", "Content-Length: 20000000", "Expect: 100-continue"
        )
    assert answer.status == 413

    with connected(web) as connection:
        answer = connection.ask("POST /nowhere", "Content-Length: 3", "Expect: 100-continue")
        assert answer.status == 100
        connection.send(b"abc")
        assert connection.answer().status == 404


def test_a_body_of_the_largest_size_is_read(web: Daphne) -> None:
    document = json.dumps({"name": "a" * (LIMIT - 12)}).encode()
    assert len(document) == LIMIT
    with connected(web) as connection:
        answer = connection.ask(
            "POST /api/loan-requests",
            "Content-Type: application/json",
            f"Content-Length: {len(document)}",
            body=document,
        )

    assert answer.status == 422


@pytest.mark.parametrize(
    "body",
    [b"a=1&" * 16_000, b"&" * 64_000, b"%" * 64_000],
    ids=["fields", "separators", "percent signs"],
)
def test_a_form_of_the_largest_size_is_answered(web: Daphne, body: bytes) -> None:
    with connected(web) as connection:
        answer = connection.ask(
            "POST /",
            "Content-Type: application/x-www-form-urlencoded",
            f"Content-Length: {len(body)}",
            body=body,
        )

    assert answer.status in (400, 403)


def test_the_largest_valid_form_is_not_too_large(web: Daphne) -> None:
    letter = "%F0%9F%98%80"  # A letter of four bytes.
    fields = {
        "name": 200,
        "address": 500,
        "national_id": 8,
        "amount": 20,
        "csrfmiddlewaretoken": 64,
    }
    form = "&".join(f"{name}={letter * length}" for name, length in fields.items())
    assert len(form) < LIMIT / 2
    with connected(web) as connection:
        answer = connection.ask(
            "POST /",
            "Content-Type: application/x-www-form-urlencoded",
            f"Content-Length: {len(form)}",
            body=form.encode(),
        )

    assert answer.status == 403  # It has no valid token.


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        (["Content-Length: -1"], b""),
        (["Content-Length: +3"], b"abc"),
        (["Content-Length: 3, 3"], b"abc"),
        (["Content-Length: 3", "Content-Length: 3"], b"abc"),
        (["Content-Length: 3", "Content-Length: 4"], b"abc"),
        (["Content-Length: " + "9" * 5_000], b""),
        (["Content-Length: 3", "Transfer-Encoding: chunked"], b"0\r\n\r\n"),
        (["Transfer-Encoding: chunked", "Content-Length: 3"], b"0\r\n\r\n"),
        (["Transfer-Encoding: chunked", "Transfer-Encoding: chunked"], b"0\r\n\r\n"),
        (["Transfer-Encoding: gzip, chunked"], b"0\r\n\r\n"),
        (["Transfer-Encoding: chunked"], b"-1\r\n"),
        (["Transfer-Encoding: chunked"], b"3;" + b"x" * 2_000 + b"\r\nabc\r\n0\r\n\r\n"),
        (["Transfer-Encoding: chunked"], b"1\r\na\r\n" * 1_000 + b"0\r\n\r\n"),
        (["Transfer-Encoding: chunked"], b"0\r\n" + b"X: y\r\n" * 20_000 + b"\r\n"),
        (["Folded: a", " b"], b""),
        (["No colon"], b""),
    ],
)
def test_a_request_with_an_ambiguous_or_wasteful_body_is_refused(
    web: Daphne, headers: list[str], body: bytes
) -> None:
    with connected(web) as connection:
        answer = connection.ask("POST /api/loan-requests", *headers, body=body)

    assert (answer.status, answer.closed) == (400, True)
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("start", "headers", "status"),
    [
        ("GET /?" + "a&" * 4_500, [], 414),
        ("GET /" + "a" * 100_000, [], 414),
        ("GET /", [f"X-{number}: y" for number in range(200)], 431),
        ("GET /", ["X: " + "y" * 20_000], 431),
        ("GET /", [f"X-{number}: {'y' * 1_000}" for number in range(20)], 431),
        ("GET /?" + "a&" * 4_000, [], 200),  # The page does not look at them.
        ("GET nowhere", [], 400),
        ("GET *", [], 400),
    ],
)
def test_addresses_and_headers_have_a_limit(
    web: Daphne, start: str, headers: list[str], status: int
) -> None:
    with connected(web) as connection:
        assert connection.ask(start, *headers).status == status


def test_a_thousand_hostile_requests_leave_nothing_behind(web: Daphne) -> None:
    unknown = json.dumps({f"x{number}": 0 for number in range(6_000)}).encode()[:LIMIT]
    hostile = [
        ("POST /api/loan-requests", b"x" * 300_000),
        ("POST /api/loan-requests", b"[" * 60_000),
        ("POST /api/loan-requests", unknown),
        ("POST /", b"a=1&" * 16_000),
        ("POST /validate/", bytes(1_000_000)),
    ]

    def attack(times: int) -> None:
        for number in range(times):
            start, body = hostile[number % len(hostile)]
            with connected(web) as connection:
                connection.ask(start, f"Content-Length: {len(body)}", body=body)

    attack(50)  # Not measured: caches are empty.
    before = memory_of(web.pid)
    attack(1_000)

    assert memory_of(web.pid) < before + 30
