"""The listening socket, on a port that no other server listens on."""

import errno
import socket
import time
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

BACKLOG = 512
"""Connections that may wait to be accepted."""


class PortError(Exception):
    """The address cannot be listened on; the message is one line for the operator."""


def listen(
    host: str,
    port: int,
    *,
    anywhere: bool = False,
    retry_for: float = 5.0,
    sleep: Callable[[float], None] = time.sleep,
) -> socket.socket:
    """A socket that listens. Raises PortError.

    Anyone who can connect can read, write and delete everything. So an address that other machines
    can reach is refused, unless ``anywhere``.

    SO_REUSEADDR lets a restarted server bind although old connections are in TIME_WAIT; without
    SO_REUSEPORT no two servers share a port. A client that connects to a free local port may get
    the same port for its own end, and so connect to itself. Such a port is busy only for a
    moment, so binding is retried for ``retry_for`` seconds.
    """
    if not anywhere:
        _refuse_reachable(host, port)
    until = time.monotonic() + retry_for
    while True:
        try:
            return _bind(host, port)
        except OSError as error:
            busy = error.errno == errno.EADDRINUSE
            if not busy:
                raise PortError(f"cannot listen on {host}:{port}: {error.strerror}") from error
            if time.monotonic() >= until or _has_listener(host, port):
                raise PortError(f"port {port} on {host} is taken") from error
        sleep(0.05)


def _refuse_reachable(host: str, port: int) -> None:
    try:
        _, address = _resolve(host, port)
    except OSError as error:
        raise PortError(f"cannot listen on {host}:{port}: {error.strerror}") from error
    if not ip_address(address[0]).is_loopback:
        raise PortError(
            f"others could reach {host}, and the event store has no passwords: leave out --host,"
            " or add --anywhere if only those can connect who may read and delete everything"
        )


def _bind(host: str, port: int) -> socket.socket:
    family, address = _resolve(host, port)
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener


def _resolve(host: str, port: int) -> tuple[int, Any]:
    """The address family and the address."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    return found[0], found[4]


def _has_listener(host: str, port: int) -> bool:
    """Whether another server listens on the port."""
    family, address = _resolve(host, port)
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.settimeout(0.5)
        try:
            probe.connect(address)
            return bool(probe.getsockname() != probe.getpeername())
        except OSError:
            return False
