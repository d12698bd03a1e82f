from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from lepret.eventstore.wire.listening import PortError, listen


@pytest.fixture
def busy() -> Iterator[socket.socket]:
    """A socket that uses a port without listening, as a client's end does."""
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        yield busy


def test_a_port_that_is_busy_for_a_moment_is_waited_for(busy: socket.socket) -> None:
    address = busy.getsockname()
    with listen(*address, sleep=lambda _: busy.close()) as listener:
        assert listener.getsockname() == address


def test_a_port_that_stays_busy_is_refused(busy: socket.socket) -> None:
    with pytest.raises(PortError, match="is taken"):
        listen(*busy.getsockname(), retry_for=0.1)


def test_a_port_with_another_listener_is_refused_at_once() -> None:
    def waiting(_: float) -> None:
        raise AssertionError("it waited")

    with listen("127.0.0.1", 0) as other, pytest.raises(PortError, match="is taken"):
        listen(*other.getsockname(), sleep=waiting)
