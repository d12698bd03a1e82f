"""Which websockets come from a page of this site."""

from __future__ import annotations

from typing import Any

import pytest
from asgiref.sync import async_to_sync
from channels.testing import WebsocketCommunicator
from pytest_django import Settings

from lepret.common.origins import FromHereOnly
from tests.support.processes import PATIENCE

HTTPS = {"x-forwarded-proto": "https"}


async def accept(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    await receive()


@async_to_sync
async def is_accepted(host: str, origin: str | None, **headers: str) -> bool:
    named = {"host": host, "origin": origin, **headers}
    pairs = [(name.encode(), value.encode()) for name, value in named.items() if value is not None]
    socket = WebsocketCommunicator(FromHereOnly(accept), "/", pairs)
    accepted, _ = await socket.connect(PATIENCE)
    await socket.disconnect(timeout=PATIENCE)
    return accepted


@pytest.fixture(autouse=True)
def hosts(settings: Settings) -> None:
    settings.ALLOWED_HOSTS = ["loans.example.com", "localhost", "[::1]", ".wild.example"]


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("loans.example.com", "http://loans.example.com"),
        ("localhost:8000", "http://localhost:8000"),
        ("[::1]:8000", "http://[::1]:8000"),
        ("a.wild.example", "http://a.wild.example"),
        ("localhost.:8000", "http://localhost.:8000"),
    ],
)
def test_the_same_scheme_host_and_port_is_from_here(host: str, origin: str) -> None:
    assert is_accepted(host, origin)


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("localhost:8000", "http://localhost:8001"),
        ("localhost:8000", "http://localhost"),
        ("localhost", "http://localhost:8000"),
        ("localhost:8000", "https://localhost:8000"),
        ("localhost:8000", "ws://localhost:8000"),
        ("localhost:8000", "//localhost:8000"),
        ("localhost:8000", "localhost:8000"),
        ("localhost:8000", "HTTP://LOCALHOST:8000"),
        ("localhost:8000", "http://localhost.:8000"),
        ("localhost:8000", "http://localhost:8000/"),
        ("localhost:8000", "http://localhost:8000 http://evil.example"),
        ("localhost:8000", "http://localhost:8000, http://evil.example"),
        ("localhost:8000", "http://localhost:8000@evil.example"),
        ("localhost:8000", "http://evil.example@localhost:8000"),
        ("localhost:8000", "http://localhost:8000.evil.example"),
        ("localhost:8000", "http://[::1]:8000"),
        ("[::1]:8000", "http://[::1]"),
        ("localhost:8000", "http://[::1"),
        ("localhost:8000", "file://"),
        ("localhost:8000", "null"),
        ("localhost:8000", ""),
        ("localhost:8000", None),
        ("a.wild.example", "http://b.wild.example"),
        # The site has no such name.
        ("evil.example", "http://evil.example"),
        ("localhost:8000,evil.example", "http://localhost:8000,evil.example"),
        ("user@localhost", "http://user@localhost"),
        ("[::1", "http://[::1"),
        ("", "http://"),
    ],
)
def test_anything_else_is_refused(host: str, origin: str | None) -> None:
    assert not is_accepted(host, origin)


@pytest.mark.parametrize(
    ("origin", "headers", "is_from_here"),
    [
        ("https://loans.example.com", HTTPS, True),
        ("http://loans.example.com", HTTPS, False),
        ("https://loans.example.com", {}, False),
        ("https://loans.example.com", {"x-forwarded-proto": "http"}, False),
        ("http://loans.example.com", {"x-forwarded-proto": "http"}, True),
    ],
)
def test_behind_a_proxy_the_scheme_is_the_one_that_it_names(
    settings: Settings, origin: str, headers: dict[str, str], *, is_from_here: bool
) -> None:
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    assert is_accepted("loans.example.com", origin, **headers) == is_from_here


def test_without_such_a_proxy_a_client_cannot_name_one() -> None:
    assert not is_accepted("loans.example.com", "https://loans.example.com", **HTTPS)


@pytest.mark.parametrize(
    ("origin", "is_trusted"),
    [
        ("https://front.example.com", True),
        ("http://front.example.com", False),
        ("https://front.example.com:8443", False),
        ("https://a.cdn.example", True),
        ("http://a.cdn.example", False),
        ("https://a.cdn.example:8443", False),
        ("https://acdn.example", False),
        ("https://a.cdn.example.evil.example", False),
    ],
)
def test_trusted_origins_are_from_here_too(
    settings: Settings, origin: str, *, is_trusted: bool
) -> None:
    settings.CSRF_TRUSTED_ORIGINS = ["https://front.example.com", "https://*.cdn.example"]
    assert is_accepted("localhost", origin) == is_trusted
