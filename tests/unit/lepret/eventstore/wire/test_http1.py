"""The question whether the server is alive, in HTTP/1.1."""

from __future__ import annotations

import pytest

from lepret.eventstore.wire.http1 import MAX_REQUEST, answer_to, is_http1
from lepret.eventstore.wire.http2.frames import PREFACE

REQUEST = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n"


def test_a_request_is_known_from_its_first_byte_on() -> None:
    assert all(is_http1(REQUEST[:size]) for size in range(1, len(REQUEST)))


def test_http2_is_none() -> None:
    assert not any(is_http1(PREFACE[:size]) for size in range(1, len(PREFACE) + 1))


@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
@pytest.mark.parametrize("query", [b"", b"?now=1"])
def test_it_is_alive(method: bytes, query: bytes) -> None:
    request = REQUEST.replace(b"GET /health/live", method + b" /health/live" + query)
    assert answer_to(request).startswith(b"HTTP/1.1 204 No Content\r\n")


def test_the_whole_request_is_waited_for() -> None:
    assert not any(answer_to(REQUEST[:size]) for size in range(len(REQUEST)))


@pytest.mark.parametrize("path", [b"/", b"/secret", b"/health/live/secret", b"/health/livesecret"])
def test_nothing_else_is_found_and_the_request_not_repeated(path: bytes) -> None:
    answer = answer_to(REQUEST.replace(b"/health/live", path))
    assert answer.startswith(b"HTTP/1.1 404 Not Found\r\n")
    assert b"secret" not in answer


def test_a_request_without_end_is_refused() -> None:
    assert answer_to(REQUEST[:-2] + b"x" * MAX_REQUEST).startswith(b"HTTP/1.1 431 ")
