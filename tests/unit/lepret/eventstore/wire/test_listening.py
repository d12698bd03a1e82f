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


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])  # noqa: S104 - refused
def test_an_address_that_others_can_reach_is_refused(host: str) -> None:
    with pytest.raises(PortError, match="no passwords"):
        listen(host, 0)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "localhost"])
def test_the_own_machine_needs_no_option(host: str) -> None:
    listen(host, 0).close()


def test_an_address_that_others_can_reach_needs_an_option() -> None:
    """Then only the system refuses this one, which is reserved for documentation."""
    with pytest.raises(PortError, match=r"cannot listen on 192\.0\.2\.1"):
        listen("192.0.2.1", 0, anywhere=True)


def test_a_port_that_stays_busy_is_refused(busy: socket.socket) -> None:
    with pytest.raises(PortError, match="is taken"):
        listen(*busy.getsockname(), retry_for=0.1)


def test_a_port_with_another_listener_is_refused_at_once() -> None:
    def waiting(_: float) -> None:
        raise AssertionError("it waited")

    with listen("127.0.0.1", 0) as other, pytest.raises(PortError, match="is taken"):
        listen(*other.getsockname(), sleep=waiting)
