"""The event store client that all parts of this process share."""

from __future__ import annotations

import atexit
import threading

from django.conf import settings

from lepret.common.event_store_connection import SharedClient

_lock = threading.Lock()
_clients: dict[str, SharedClient] = {}


def event_store_client() -> SharedClient:
    """The client for `settings.EVENTSTORE_URI`, created at the first call.

    Threads share one client. It must not be created before a fork, and so not at import. It asks
    nobody anything before its first call.
    """
    uri = settings.EVENTSTORE_URI
    with _lock:
        if uri not in _clients:
            _clients[uri] = SharedClient(uri)
        return _clients[uri]


def close_event_store_client() -> None:
    """Close the client and its connections. `event_store_client()` then creates a new one."""
    with _lock:
        while _clients:
            _clients.popitem()[1].close()


# gRPC logs errors if the interpreter exits with open clients.
atexit.register(close_event_store_client)
