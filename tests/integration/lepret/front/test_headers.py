"""Nobody who sends a request decides at which address the site is, or who they are."""

from __future__ import annotations

import pytest

from tests.support.raw_http import connected
from tests.support.web_servers import Daphne


@pytest.mark.parametrize("name", ["Daphne-Root-Path", "daphne-root-path", "DAPHNE-ROOT-PATH"])
@pytest.mark.parametrize("value", ["/loans", "//evil.example", "%2Floans", "/"])
def test_a_root_path_from_outside_is_ignored(web: Daphne, name: str, value: str) -> None:
    with connected(web) as connection:
        assert connection.ask("GET /loans/metrics", f"{name}: {value}").status == 404
        assert connection.ask("GET /loans/healthz", f"{name}: {value}").status == 404

        answer = connection.ask("GET /underwriting/", f"{name}: {value}")
        assert answer.headers["location"] == "/accounts/login/?next=/underwriting/"

        page = connection.ask("GET /", f"{name}: {value}")
        assert b"evil" not in page.body
        assert b'"/loans/static' not in page.body


def test_a_websocket_with_a_root_path_is_that_of_its_own_address(echo: Daphne) -> None:
    with connected(echo, "127.0.0.9") as socket:
        assert socket.open_socket("/loans/ws/", "Daphne-Root-Path: /loans").status == 101


@pytest.mark.parametrize(
    "header",
    [
        "X-Forwarded-Host: evil.example",
        "X_Forwarded_Host: evil.example",
        "X-Script-Name: /evil",
        "Script-Name: /evil",
        "X-Original-URL: /metrics",
        "X-Rewrite-URL: /metrics",
        "X-HTTP-Method-Override: DELETE",
        "Forwarded: host=evil.example",
    ],
)
def test_headers_that_only_proxies_know_change_nothing(web: Daphne, header: str) -> None:
    with connected(web) as connection:
        answer = connection.ask("GET /underwriting/", header)

    assert answer.status == 302
    assert answer.headers["location"] == "/accounts/login/?next=/underwriting/"


@pytest.mark.parametrize(
    "target", ["//evil.example/", "//evil.example/underwriting", "/\\evil.example"]
)
def test_no_redirect_leads_to_another_host(web: Daphne, target: str) -> None:
    with connected(web) as connection:
        answer = connection.ask(f"GET {target}")

    location = answer.headers.get("location", "/")
    assert location.startswith("/")
    assert not location.startswith(("//", "/\\"))


def test_an_absolute_address_is_that_of_its_path(web: Daphne) -> None:
    with connected(web) as connection:
        assert connection.ask(f"GET http://127.0.0.1:{web.port}/healthz").status == 200
        assert connection.ask(f"GET http://127.0.0.1:{web.port}").status == 200
    with connected(web) as connection:
        assert connection.ask("GET http://evil.example/healthz").status == 400
    with connected(web) as connection:
        assert connection.ask("GET ftp://127.0.0.1/healthz").status == 400


_NOT_ASCII = "\xff\xfe"


@pytest.mark.parametrize(
    "header",
    [
        f"Sec-WebSocket-Protocol: {_NOT_ASCII}",
        "Sec-WebSocket-Protocol: one, two",
        "Sec-WebSocket-Protocol: one, one",
        f"Sec-WebSocket-Extensions: {_NOT_ASCII}; {_NOT_ASCII}=1",
        f"Cookie: sessionid={_NOT_ASCII}",
        f"Accept-Language: {_NOT_ASCII}",
    ],
)
def test_a_header_that_no_page_uses_does_not_keep_its_websocket_from_opening(
    echo: Daphne, header: str
) -> None:
    with connected(echo, "127.0.0.9") as socket:
        answer = socket.open_socket("/ws/", header)

    assert answer.status == 101
    assert "sec-websocket-protocol" not in answer.headers


@pytest.mark.parametrize(
    ("target", "header"),
    [
        ("/ws/", "Sec-WebSocket-Extensions: permessage-deflate; x=y, ;;"),
        ("/ws/", f"Sec-WebSocket-Version: {_NOT_ASCII}"),
        ("/ws/", f"Sec-WebSocket-Key: {_NOT_ASCII}"),
        ("/ws/", f"Origin: {_NOT_ASCII}"),
        ("/ws/", "Origin: http://[::1"),
        ("/ws/", "X: a\x85Daphne-Root-Path: /loans"),
        (f"/ws/{_NOT_ASCII}", "X: a"),
        (f"/ws/?{_NOT_ASCII}", "X: a"),
        ("/ws/#part", "X: a"),
        ("//[::1/ws/", "X: a"),
    ],
)
def test_a_handshake_that_is_not_valid_is_refused_like_any_request(
    echo: Daphne, target: str, header: str
) -> None:
    with connected(echo, "127.0.0.9") as socket:
        answer = socket.open_socket(target, header)

    assert answer.status == 400
    assert "permissions-policy" in answer.headers
    assert answer.body
    assert _NOT_ASCII.encode() not in answer.body
