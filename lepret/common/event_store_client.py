"""The event store client that all parts of this process share."""

from __future__ import annotations

import atexit
import threading

import grpc
from django.conf import settings
from esdbclient import EventStoreDBClient
from grpc.experimental import ChannelOptions

_lock = threading.Lock()
_clients: dict[str, EventStoreDBClient] = {}


def event_store_client() -> EventStoreDBClient:
    """The client for `settings.EVENTSTORE_URI`, created at the first call.

    Threads share one client. It must not be created before a fork, and so not at import.

    Raises:
        esdbclient.exceptions.DiscoveryFailed: the URI names a cluster, and no node of it answers.
    """
    uri = settings.EVENTSTORE_URI
    with _lock:
        if uri not in _clients:
            _clients[uri] = _Client(uri)
        return _clients[uri]


def close_event_store_client() -> None:
    """Close the client and its connections. `event_store_client()` then creates a new one."""
    with _lock:
        while _clients:
            _clients.popitem()[1].close()


class _Client(EventStoreDBClient):
    """Receives the messages of a stream in the thread that reads them.

    By default gRPC receives them in another thread, which takes twice the time.
    """

    def _construct_grpc_channel(
        self, grpc_target: str, grpc_options: tuple[tuple[str, str | int], ...] = ()
    ) -> grpc.Channel:
        in_one_thread = (ChannelOptions.SingleThreadedUnaryStream, 1)
        return super()._construct_grpc_channel(grpc_target, (*grpc_options, in_one_thread))


# gRPC logs errors if the interpreter exits with open clients.
atexit.register(close_event_store_client)
