"""HTTP servers in the test's own process: a credit bureau that follows a script, and others."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from socketserver import TCPServer
from typing import Any, TypeVar

from loans.simulation.bureau_server import BureauServer, Misbehave, Reply

S = TypeVar("S", bound=TCPServer)


@contextmanager
def serving(server: S) -> Iterator[S]:
    """Run the server during the block."""
    with server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()


def running_bureau(**options: Any) -> AbstractContextManager[BureauServer]:
    """Run a credit bureau with these options during the block."""
    return serving(BureauServer("127.0.0.1", 0, **options))


def script(*replies: Reply | None) -> Misbehave:
    """Give these replies in turn, and then the last one for ever; `None` stands for a score."""
    left = itertools.chain(replies, itertools.repeat(replies[-1]))
    return lambda *_: next(left)
