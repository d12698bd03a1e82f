"""Calls of the event store that leave nothing behind.

A call that is read in the thread that has made it is kept by gRPC until the last of its events is
taken, each with some 20 kB. Nobody takes them of a call that is cancelled, as esdbclient ends reads
before their end, and as appends are ended: a web server would grow by 100 kB with each application.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any


def forgotten_at_its_end(start: Callable[..., Any]) -> Callable[..., Any]:
    """What starts such a call, so that gRPC forgets it once it has ended."""

    def call(*args: Any, **kwargs: Any) -> Call:
        return Call(start(*args, **kwargs))

    return call


class Call:
    """A call whose answers one thread reads, and which any thread may cancel."""

    def __init__(self, call: Any) -> None:
        self._call = call
        self._is_being_read = False
        self._lock = threading.Lock()

    def __iter__(self) -> Call:
        return self

    def __next__(self) -> Any:
        # It stays so if a signal interrupts it, at which the process is to end: what gRPC has done
        # by then is not known, and whoever waited for the rest might wait for ever.
        self._is_being_read = True
        try:
            answer = next(self._call)
        except Exception:
            self._call.cancel()
            self._take_the_rest()
            self._is_being_read = False
            raise
        self._is_being_read = False
        return answer

    def cancel(self) -> None:
        """End it, whether it is being read or not."""
        self._call.cancel()
        # Who reads it wakes up, and takes the rest. Of two who wait for it, one would for ever.
        if not self._is_being_read:
            self._take_the_rest()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._call, name)

    def _take_the_rest(self) -> None:
        with self._lock:
            while self._call._state.due:  # noqa: SLF001 (grpcio has no other way)
                self._call._consume_next_event()  # noqa: SLF001
