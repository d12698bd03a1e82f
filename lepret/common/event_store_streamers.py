"""Lets streams of esdbclient's end at any moment.

A stream that nobody has closed is closed when Python collects it. That may be while the same thread
notes or forgets another one, and holds the lock for it: esdbclient's is not reentrant, so that the
thread would wait for itself, and all others that use the connection for that thread, for ever.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator

import esdbclient.connection
from esdbclient.common import GrpcStreamer, GrpcStreamers


class ReentrantStreamers(GrpcStreamers):
    """The streams of a connection, which may be forgotten while they are being looked at."""

    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.RLock()  # type: ignore[assignment]

    def __iter__(self) -> Iterator[GrpcStreamer]:
        # A list of the references is made without a step at which Python could collect anything.
        found = (reference() for reference in self.map.valuerefs())
        return iter([streamer for streamer in found if streamer is not None])


def use_reentrant_streamers() -> None:
    """Have each connection that esdbclient makes from now on use them."""
    esdbclient.connection.GrpcStreamers = ReentrantStreamers  # type: ignore[attr-defined]
