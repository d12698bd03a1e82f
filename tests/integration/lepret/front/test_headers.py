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
