"""Finds free TCP ports."""

from __future__ import annotations

import errno
import random
import socket

# Below the ephemeral ports, which outgoing connections get: a server that restarts on one of those
# may find its port taken by a client that is trying to reach it.
_SERVER_PORTS = range(20_000, 32_000)


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Whether a server could listen on this port now.

    Raises:
        OSError: it could not for another reason than a taken port: an address of another machine,
            or a missing right.
    """
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    with socket.socket(family, kind, protocol) as probe:
        # As servers do. Without it, old connections of a server that ended would block the port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
            probe.listen()
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
            raise
    return True


def free_port(host: str = "127.0.0.1") -> int:
    """A random port that is free now. Two callers at once seldom get the same one.

    Raises:
        OSError: no free port was found.
    """
    for port in random.SystemRandom().sample(_SERVER_PORTS, 100):
        if is_free(port, host):
            return port
    raise OSError(errno.EADDRINUSE, f"no free port on {host}")
