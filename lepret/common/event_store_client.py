"""The event store client that all parts of this process share."""

from __future__ import annotations

import atexit
import threading

from django.conf import settings
from esdbclient.connection_spec import ConnectionSpec

from lepret.common.event_store_connection import SharedClient
from lepret.common.event_store_refusals import in_words

_lock = threading.Lock()
_clients: dict[str, SharedClient] = {}


def event_store_client() -> SharedClient:
    """The client for `settings.EVENTSTORE_URI`, created at the first call.

    Threads share one client. It must not be created before a fork, and so not at import. It asks
    nobody anything before its first call.

    Raises:
        FilesUnreadable: files that the URI names cannot be read.
    """
    uri = settings.EVENTSTORE_URI
    with _lock:
        if uri not in _clients:
            _clients[uri] = SharedClient(uri)
        return _clients[uri]


def why_refused(error: BaseException) -> str | None:
    """What the event store, or TLS on the way to it, refused to this process, and what to do.

    `None` if the error is no refusal. This may take a second: see `event_store_refusals.in_words`.
    """
    return in_words(error, ConnectionSpec(settings.EVENTSTORE_URI))


def close_event_store_client() -> None:
    """Close the client and its connections. `event_store_client()` then creates a new one."""
    with _lock:
        while _clients:
            _clients.popitem()[1].close()


# gRPC logs errors if the interpreter exits with open clients.
atexit.register(close_event_store_client)
