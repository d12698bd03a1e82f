"""How many connections there may be, and for how long without a complete request."""

from __future__ import annotations

from contextlib import ExitStack, suppress

import pytest

from tests.integration.lepret.front.conftest import memory_of
from tests.support.processes import wait_until
from tests.support.raw_http import connected, frame
from tests.support.web_servers import Daphne


@pytest.mark.parametrize(
    "beginning",
    [b"", b"G", b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nHost: localhost\r\nX: "],
    ids=["nothing", "a letter", "a line", "half a header"],
)
def test_a_request_that_is_not_complete_in_time_is_closed(web: Daphne, beginning: bytes) -> None:
    with connected(web) as connection:
        connection.send(beginning)

        assert connection.closes(trickle=beginning and b"x")


def test_a_body_that_is_not_complete_in_time_is_closed(web: Daphne) -> None:
    with connected(web) as connection:
        connection.send(connection.head("POST /", "Content-Length: 60000"))

        assert connection.closes(trickle=b"x")


def test_a_connection_that_is_idle_is_closed(web: Daphne) -> None:
    with connected(web) as connection:
        assert connection.ask("GET /healthz").status == 200
        assert connection.ask("GET /healthz").status == 200

        assert connection.closes()


def test_a_client_that_does_not_read_its_answers_is_closed(web: Daphne) -> None:
    with ExitStack() as stack:
        address = "127.0.0.3"
        for _ in range(20):
            connection = stack.enter_context(connected(web, address))
            connection.send(connection.head("GET /static/ninja/swagger-ui-bundle.js") * 5)

        wait_until(lambda: is_served(web, address))


def test_answers_that_are_not_read_hold_up_their_own_address_only(web: Daphne) -> None:
    with ExitStack() as stack:
        for _ in range(16):
            connection = stack.enter_context(connected(web, "127.0.0.8"))
            connection.send(connection.head("GET /static/ninja/swagger-ui-bundle.js") * 5)
        held_up = stack.enter_context(connected(web, "127.0.0.8"))
        held_up.send(held_up.head("GET /healthz"))
        with connected(web, "127.0.0.9") as other:
            assert other.ask("GET /healthz").status == 200

        assert held_up.answer().status == 200  # After those that do not read are closed.


def test_requests_sent_ahead_wait_until_the_answers_before_are_read(web: Daphne) -> None:
    before = memory_of(web.pid)
    with connected(web, "127.0.0.10") as connection:
        connection.send(connection.head("GET /static/ninja/swagger-ui-bundle.js") * 500)

        assert connection.answer().status == 200
        assert connection.answer().status == 200
        assert memory_of(web.pid) - before < 100  # All of them are 700 MB.


def test_a_request_may_come_byte_by_byte(web: Daphne) -> None:
    with connected(web) as connection:
        for byte in connection.head("GET /healthz"):
            connection.send(bytes([byte]))

        assert connection.answer().status == 200


def test_requests_may_be_sent_ahead(web: Daphne) -> None:
    with connected(web) as connection:
        connection.send(connection.head("GET /healthz") * 20)

        assert [connection.answer().status for _ in range(20)] == [200] * 20


def test_an_address_has_a_limited_number_of_connections(web: Daphne) -> None:
    with ExitStack() as stack:
        connections = [stack.enter_context(connected(web, "127.0.0.4")) for _ in range(24)]
        statuses = {connection.ask("GET /healthz").status for connection in connections[20:]}
        assert statuses == {503}
        assert connections[0].ask("GET /healthz").status == 200

        with connected(web, "127.0.0.5") as other:
            assert other.ask("GET /healthz").status == 200

    wait_until(lambda: is_served(web, "127.0.0.4"))


def test_an_address_has_a_limited_number_of_websockets(echo: Daphne) -> None:
    with ExitStack() as stack:
        sockets = [stack.enter_context(connected(echo, "127.0.0.6")) for _ in range(5)]
        statuses = [socket.open_socket("/").status for socket in sockets]
        with connected(echo, "127.0.0.5") as other:
            assert other.open_socket("/").status == 101

    assert statuses == [101, 101, 101, 429, 429]
    wait_until(lambda: can_open_socket(echo, "127.0.0.6"))


@pytest.mark.parametrize(
    "frames",
    [
        frame(1, b"x" * 2_000),
        frame(1, b"x" * 500, fin=False) + frame(0, b"x" * 500, fin=False) * 3,
        frame(1, b"", fin=False) + frame(0, b"", fin=False) * 5_000,
        frame(9, b"ping") * 5_000,
        frame(10, b"pong") * 5_000,
        frame(1, b"x") * 500,
        b"\x81\xff" + (2**60).to_bytes(8, "big") + bytes(4),
        frame(1, b"flood"),
    ],
    ids=["large", "parts", "empty parts", "pings", "pongs", "messages", "huge", "unread"],
)
def test_a_page_that_sends_or_asks_too_much_is_closed(echo: Daphne, frames: bytes) -> None:
    with connected(echo, "127.0.0.7") as socket:
        assert socket.open_socket("/").status == 101
        socket.send(frames)

        wait_until(socket.is_closed)
    wait_until(lambda: can_open_socket(echo, "127.0.0.7"))


def test_a_page_that_sends_now_and_then_stays_open(echo: Daphne) -> None:
    with connected(echo, "127.0.0.8") as socket:
        assert socket.open_socket("/").status == 101
        for number in range(10):
            socket.send(frame(1, f"message {number}".encode()))
            socket.send(frame(9, b"ping"))
        while not socket.has_received(b"message 9"):
            assert not socket.is_closed()


@pytest.mark.parametrize(("asked", "last"), [(b"page", b"x" * 100_000), (b"list", b"a change")])
def test_a_page_is_sent_as_much_as_it_needs(echo: Daphne, asked: bytes, last: bytes) -> None:
    with connected(echo, "127.0.0.8") as socket:
        assert socket.open_socket("/").status == 101
        socket.send(frame(1, asked))
        while not socket.has_received(last):
            assert not socket.is_closed()


def is_served(server: Daphne, address: str) -> bool:
    """Whether a new connection from this address is accepted."""
    # While many are being refused, others are closed without an answer.
    with suppress(ConnectionError), connected(server, address) as connection:
        connection.send(connection.head("GET /healthz"))
        return not connection.is_closed() and connection.answer().status == 200
    return False


def can_open_socket(server: Daphne, address: str) -> bool:
    """Whether a new websocket from this address is accepted."""
    with connected(server, address) as connection:
        return connection.open_socket("/").status == 101
