"""How long one answer may wait for the event store: for all its calls together.

Each call has a time-out, but a use case makes several. With a store that is slow, or hangs in
between, the times would add up while somebody waits.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase

GetResponse = Callable[[HttpRequest], HttpResponseBase]


@dataclass
class Patience:
    """How many seconds are left."""

    seconds: float


_patience: ContextVar[Patience | None] = ContextVar("patience", default=None)


def limited_patience(get_response: GetResponse) -> GetResponse:
    """Middleware that limits how long each answer waits. Without it, as in workers, none is."""

    def middleware(request: HttpRequest) -> HttpResponseBase:
        token = _patience.set(Patience(settings.EVENTSTORE_TIMEOUT_SECONDS))
        try:
            return get_response(request)
        finally:
            _patience.reset(token)

    return middleware


@contextmanager
def waiting(timeout: float | None) -> Iterator[float | None]:
    """Wait in the block, for no longer than this yields, in seconds: `timeout`, or what is left.

    Raises:
        TimeoutError: nothing is left.
    """
    patience = _patience.get()
    if patience is None:
        yield timeout
        return
    if patience.seconds <= 0:
        raise TimeoutError
    began = time.monotonic()
    try:
        yield seconds_left(timeout)
    finally:
        patience.seconds -= time.monotonic() - began


def seconds_left(timeout: float | None) -> float | None:
    """What `waiting` would yield now; 0 if nothing is left."""
    patience = _patience.get()
    if patience is None:
        return timeout
    left = max(0.0, patience.seconds)
    return left if timeout is None else min(timeout, left)
