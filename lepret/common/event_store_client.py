"""The process's one client of the event store, for the write side and the read side alike."""

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
    """The client for `settings.EVENTSTORE_URI`, made when it is first asked for.

    One client serves many threads; it must not be made before a fork, and so not at import.

    Raises:
        esdbclient.exceptions.DiscoveryFailed: a cluster is named and no node of it answers.
    """
    uri = settings.EVENTSTORE_URI
    with _lock:
        if uri not in _clients:
            _clients[uri] = _Client(uri)
        return _clients[uri]


def close_event_store_client() -> None:
    """Close what was made, with its connections; asking again makes a new one."""
    with _lock:
        while _clients:
            _clients.popitem()[1].close()


class _Client(EventStoreDBClient):
    """Reads streams in the thread that asks for them.

    gRPC otherwise has a thread of its own hand over each message, which takes twice the time.
    """

    def _construct_grpc_channel(
        self, grpc_target: str, grpc_options: tuple[tuple[str, str | int], ...] = ()
    ) -> grpc.Channel:
        in_one_thread = (ChannelOptions.SingleThreadedUnaryStream, 1)
        return super()._construct_grpc_channel(grpc_target, (*grpc_options, in_one_thread))


# gRPC complains of clients that are left to the garbage collector of an ending interpreter.
atexit.register(close_event_store_client)
