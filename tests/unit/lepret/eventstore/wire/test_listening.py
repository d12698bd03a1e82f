from __future__ import annotations

import socket

import pytest

from lepret.eventstore.wire import listening
from lepret.eventstore.wire.listening import PortError, listen

SLEEP = "lepret.eventstore.wire.listening.time.sleep"


def test_a_port_that_is_busy_for_a_moment_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody listens on it: it is the own end of a client that knocks, say."""
    busy = socket.socket()
    busy.bind(("127.0.0.1", 0))
    address = busy.getsockname()
    monkeypatch.setattr(SLEEP, lambda _: busy.close())
    with listen(*address) as listener:
        assert listener.getsockname() == address


def test_a_port_that_stays_busy_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "BUSY_RETRIES_FOR", 0.1)
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        with pytest.raises(PortError, match="is taken"):
            listen(*busy.getsockname())


def test_a_port_that_another_listens_on_is_refused_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def waiting(_: float) -> None:
        raise AssertionError("it waited")

    monkeypatch.setattr(SLEEP, waiting)
    with (
        listen("127.0.0.1", 0) as other,
        pytest.raises(PortError, match="is taken"),
    ):
        listen(*other.getsockname())
