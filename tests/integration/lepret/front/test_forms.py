"""Forms that cannot be read: never an error of the server, whatever is at their address."""

from __future__ import annotations

from typing import Final

import pytest

from tests.support.raw_http import connected
from tests.support.web_servers import Daphne

# With a cookie Django looks for its token in the form.
COOKIE: Final = f"Cookie: csrftoken={'a' * 32}"
PATHS: Final = ("/", "/validate/", "/accounts/login/", "/admin/login/", "/nowhere/", "/static/no")
URLENCODED: Final = "application/x-www-form-urlencoded"
MULTIPART: Final = "multipart/form-data; boundary=b"
FIELD: Final = b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\nx\r\n'
FILE: Final = b'--b\r\nContent-Disposition: form-data; name="a"; filename="f"\r\n\r\nx\r\n--b--\r\n'


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        (URLENCODED, b"a=1&" * 201),
        (URLENCODED, b"a=1&" * 16_000),
        (f"{URLENCODED}; charset=utf-16", b"a=1"),
        (f"{MULTIPART}; charset=utf-7", FIELD),
        ("multipart/form-data", FIELD),
        ("multipart/form-data; boundary=\xff", FIELD),
        (MULTIPART, b"\xff" * 3_000),
        (MULTIPART, FIELD * 300 + b"--b--\r\n"),
        (MULTIPART, FILE),
    ],
)
def test_a_form_that_cannot_be_read_is_refused(
    web: Daphne, path: str, content_type: str, body: bytes
) -> None:
    with connected(web) as connection:
        answer = connection.ask(
            f"POST {path}",
            COOKIE,
            f"Content-Type: {content_type}",
            f"Content-Length: {len(body)}",
            body=body,
        )

    assert answer.status == 400
    assert answer.body
    assert "permissions-policy" in answer.headers


@pytest.mark.parametrize("content_type", [URLENCODED, MULTIPART, "multipart/form-data"])
@pytest.mark.parametrize("body", [b"a=1&" * 16_000, FILE, b"\xff" * 3_000])
def test_the_api_takes_no_forms_whether_they_can_be_read_or_not(
    web: Daphne, content_type: str, body: bytes
) -> None:
    with connected(web) as connection:
        answer = connection.ask(
            "POST /api/loan-requests",
            COOKIE,
            f"Content-Type: {content_type}",
            f"Content-Length: {len(body)}",
            body=body,
        )

    assert answer.status == 415
    assert answer.headers["content-type"] == "application/problem+json"
