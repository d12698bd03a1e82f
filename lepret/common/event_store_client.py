"""The event store client that all parts of this process share."""

from __future__ import annotations

import atexit
import threading

from django.conf import settings
from esdbclient.exceptions import DiscoveryFailed

from lepret.common.event_store_connection import SharedClient

_lock = threading.Lock()
_clients: dict[str, SharedClient] = {}


def event_store_client() -> SharedClient:
    """The client for `settings.EVENTSTORE_URI`, created at the first call.

    Threads share one client. It must not be created before a fork, and so not at import. It asks
    nobody anything before its first call.
    """
    uri = settings.EVENTSTORE_URI
    if (client := _clients.get(uri)) is not None:
        return client
    others_try = not _lock.acquire(blocking=False)
    if others_try:
        _lock.acquire()
    try:
        if uri not in _clients:
            if others_try:  # In vain. Whoever waited for that would wait for twice as long.
                raise DiscoveryFailed("no node has answered another thread")
            _clients[uri] = SharedClient(uri)
        return _clients[uri]
    finally:
        _lock.release()


def close_event_store_client() -> None:
    """Close the client and its connections. `event_store_client()` then creates a new one."""
    with _lock:
        while _clients:
            _clients.popitem()[1].close()


# gRPC logs errors if the interpreter exits with open clients.
atexit.register(close_event_store_client)
