"""A credit bureau over HTTP in the test's own process, which can be told what to reply."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from loans.simulation.bureau_server import BureauServer, Misbehave, Reply


@contextmanager
def running_bureau(**options: Any) -> Iterator[BureauServer]:
    """A server with these options that runs within the block."""
    with BureauServer("127.0.0.1", 0, **options) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()


def script(*replies: Reply | None) -> Misbehave:
    """Reply in these ways, one after the other, then always in the last; `None` is for a score."""
    left = itertools.chain(replies, itertools.repeat(replies[-1]))
    return lambda *_: next(left)
