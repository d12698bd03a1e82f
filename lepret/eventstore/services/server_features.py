"""The ServerFeatures service: tells clients which methods they may use."""

from collections.abc import Iterable
from typing import Any

from lepret.eventstore.newer_messages import SupportedMethod, SupportedMethods
from lepret.eventstore.rpc import Call, Methods

VERSION = "24.10.5"
"""The version of EventStoreDB that this server behaves like."""

PATH = "/event_store.client.server_features.ServerFeatures/GetSupportedMethods"

_CLIENTS_PACKAGE = "/event_store.client."
_FEATURES = {
    "/event_store.client.streams.Streams/Read": ("position", "events"),
    "/event_store.client.streams.Streams/BatchAppend": ("deadline_duration",),
}
_GROUPS_SERVICE = "/event_store.client.persistent_subscriptions.PersistentSubscriptions/"
_GROUPS_FEATURES = ("stream", "all")


def server_features_service(methods: Methods) -> Methods:
    """List these methods and the service's own."""
    supported = SupportedMethods(
        event_store_server_version=VERSION, methods=_supported([*methods, PATH])
    )
    answer: bytes = supported.SerializeToString()

    async def get_supported_methods(call: Call) -> None:
        await call.send([answer])

    return {PATH: get_supported_methods}


def _supported(paths: Iterable[str]) -> list[Any]:
    """The methods of these paths, in lower case as clients look for them."""
    found = []
    for path in paths:
        if not path.startswith(_CLIENTS_PACKAGE):
            continue
        service, method = path.lower().removeprefix("/").split("/")
        found.append(
            SupportedMethod(service_name=service, method_name=method, features=_features(path))
        )
    return found


def _features(path: str) -> tuple[str, ...]:
    if path.startswith(_GROUPS_SERVICE):
        return _GROUPS_FEATURES
    return _FEATURES.get(path, ())
