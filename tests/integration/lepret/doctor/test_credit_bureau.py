"""What the doctor says of a credit bureau, which it asks for no score."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from pytest_django import Settings

from lepret.doctor.credit_bureau import can_be_reached
from lepret.doctor.report import Trouble
from loans.simulation.bureau_server import answer_in_json
from tests.support.bureau_server import running_bureau, serving
from tests.support.processes import free_port
from tests.support.swallowing_proxy import running_swallowing_proxy


@contextmanager
def answering(status: int) -> Iterator[str]:
    """A server that answers every GET with this status. Yields its URL, with a password."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer_in_json({}, status)(self)

        def log_message(self, *_: object) -> None:
            pass

    with serving(HTTPServer(("127.0.0.1", 0), Handler)) as server:
        yield f"http://us:hidden@127.0.0.1:{server.server_port}"


def trouble(settings: Settings, url: str) -> str:
    """What is said of the credit bureau at `url`, which is not fine."""
    settings.CREDIT_BUREAU_URL = url
    with pytest.raises(Trouble) as raised:
        can_be_reached()
    assert "hidden" not in str(raised.value)
    return str(raised.value)


def test_without_one_the_simulator_stands_in(settings: Settings) -> None:
    settings.CREDIT_BUREAU_URL = None
    assert can_be_reached().startswith("none: CREDIT_BUREAU_URL is not set, so the simulator")


def test_one_that_answers_is_fine_and_asked_for_no_score(settings: Settings) -> None:
    with running_bureau() as bureau:
        settings.CREDIT_BUREAU_URL = f"{bureau.url}/"
        assert "can be reached (it answers GET with 404)" in can_be_reached()
        assert bureau.asks()["asked"] == 0


@pytest.mark.parametrize("status", [200, 404, 405])
def test_any_ordinary_answer_is_fine(settings: Settings, status: int) -> None:
    with answering(status) as url:
        settings.CREDIT_BUREAU_URL = url
        found = can_be_reached()
    assert f"with {status}" in found
    assert "hidden" not in found


@pytest.mark.parametrize(
    ("status", "words"), [(301, "elsewhere"), (401, "credentials"), (503, "wait, or call")]
)
def test_others_are_wrong(settings: Settings, status: int, words: str) -> None:
    with answering(status) as url:
        said = trouble(settings, url)
    assert f"answers {status}: " in said
    assert words in said


def test_one_that_cannot_be_reached_is_wrong(settings: Settings) -> None:
    port = free_port()
    assert f"nothing listens at 127.0.0.1:{port}" in trouble(
        settings, f"http://us:hidden@127.0.0.1:{port}"
    )
    assert "there is no host" in trouble(settings, "https://us:hidden@host.invalid/a")
    assert "percent-encode" in trouble(settings, "https://us:hid/hidden@host.invalid")


def test_tls_on_our_side_only_is_named(settings: Settings) -> None:
    with answering(200) as url:
        said = trouble(settings, url.replace("http:", "https:"))
    assert "speaks no TLS, and CREDIT_BUREAU_URL wants it" in said


def test_one_that_hangs_is_given_up(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lepret.doctor.credit_bureau.SECONDS_FOR_AN_ANSWER", 0.3)
    with running_bureau() as bureau, running_swallowing_proxy(bureau.server_address[1]) as proxy:
        proxy.is_swallowing = True
        assert "does not answer" in trouble(settings, proxy.base_url)
