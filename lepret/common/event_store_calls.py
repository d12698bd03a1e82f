"""Calls of the event store that are quick, and leave nothing behind.

gRPC says of each call that its request is sent, that its answer begins, and what the first message
is, each by itself, with a change between threads. Most of our calls are answered with one message:
so these are asked for together.

A call that is read in the thread that has made it is kept by gRPC until the last of its events is
taken, each with some 20 kB. Nobody takes them of a call that is cancelled, as esdbclient ends reads
before their end, and as appends are ended: a web server would grow by 100 kB with each application.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Final

from grpc._cython import cygrpc  # type: ignore[attr-defined]

_NO_FLAGS: Final = 0


def lean(start: Any) -> Callable[..., Call]:
    """What starts such a call, from what gRPC starts it with."""
    start._channel = _AskingForTheFirst(start._channel)  # noqa: SLF001 (grpcio has no other way)

    def call(*args: Any, **kwargs: Any) -> Call:
        return Call(start(*args, **kwargs))

    return call


class _AskingForTheFirst:
    """A channel that asks for a call's first message when it begins."""

    def __init__(self, channel: Any) -> None:
        self._channel = channel

    def segregated_call(self, *args: Any) -> Any:
        *options, operations, context, handle = args
        (sending, tag), status, (beginning, _) = operations
        first = cygrpc.ReceiveMessageOperation(_NO_FLAGS)
        together = ((*sending, *beginning, first), tag)
        return self._channel.segregated_call(*options, (together, status), context, handle)


class Call:
    """A call whose answers one thread reads, and which any thread may cancel."""

    def __init__(self, call: Any) -> None:
        self._call = call
        self._state = call._state  # noqa: SLF001
        self._state.due.add(cygrpc.OperationType.receive_message)
        self._next: Callable[[], Any] = call._next_response  # noqa: SLF001
        self._is_being_read = False
        self._lock = threading.Lock()

    def __iter__(self) -> Call:
        return self

    def __next__(self) -> Any:
        # It stays so if a signal interrupts it, at which the process is to end: what gRPC has done
        # by then is not known, and whoever waited for the rest might wait for ever.
        self._is_being_read = True
        try:
            answer = self._next()
        except Exception:
            self._call.cancel()
            self._take_the_rest()
            self._is_being_read = False
            raise
        self._next = self._call.__next__
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
            while self._state.due:
                self._call._consume_next_event()  # noqa: SLF001
