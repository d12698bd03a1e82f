"""The process's one client of the event store, for the write side and the read side alike."""

from __future__ import annotations

import atexit
import threading

from django.conf import settings
from esdbclient import EventStoreDBClient

_lock = threading.Lock()
_clients: dict[str, EventStoreDBClient] = {}


def event_store_client() -> EventStoreDBClient:
    """The client for `settings.EVENTSTORE_URI`, made when it is first asked for.

    One client serves many threads; it must not be made before a fork, and so not at import.

    Raises:
        esdbclient.exceptions.DiscoveryFailed: a cluster is named and no node of it answers.
    """
    uri = settings.EVENTSTORE_URI
    with _lock:
        if uri not in _clients:
            _clients[uri] = EventStoreDBClient(uri)
        return _clients[uri]


def close_event_store_client() -> None:
    """Close what was made, with its connections; asking again makes a new one."""
    with _lock:
        while _clients:
            _clients.popitem()[1].close()


# gRPC complains of clients that are left to the garbage collector of an ending interpreter.
atexit.register(close_event_store_client)
