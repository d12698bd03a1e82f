"""The ServerFeatures service: what this server can do, so that clients leave out what it cannot."""

from collections.abc import Iterable
from typing import Any

from google.protobuf import descriptor_pb2, text_format
from google.protobuf.message_factory import GetMessages

from lepret.eventstore.rpc import Call, Methods

VERSION = "24.10.0"
"""The version of EventStoreDB that this server behaves like."""

PATH = "/event_store.client.server_features.ServerFeatures/GetSupportedMethods"

# esdbclient comes without these messages.
_FILE = """
name: "event_store/server_features.proto"
package: "event_store.client.server_features"
syntax: "proto3"
message_type {
  name: "SupportedMethods"
  field {
    name: "methods" number: 1 label: LABEL_REPEATED type: TYPE_MESSAGE
    type_name: ".event_store.client.server_features.SupportedMethod"
  }
  field {
    name: "event_store_server_version" number: 2 label: LABEL_OPTIONAL type: TYPE_STRING
  }
}
message_type {
  name: "SupportedMethod"
  field { name: "method_name" number: 1 label: LABEL_OPTIONAL type: TYPE_STRING }
  field { name: "service_name" number: 2 label: LABEL_OPTIONAL type: TYPE_STRING }
  field { name: "features" number: 3 label: LABEL_REPEATED type: TYPE_STRING }
}
"""
_messages: dict[str, Any] = GetMessages(
    [text_format.Parse(_FILE, descriptor_pb2.FileDescriptorProto())]
)
SupportedMethods = _messages["event_store.client.server_features.SupportedMethods"]
SupportedMethod = _messages["event_store.client.server_features.SupportedMethod"]

_CLIENTS_PACKAGE = "/event_store.client."
_FEATURES = {
    "/event_store.client.streams.Streams/Read": ("position", "events"),
    "/event_store.client.streams.Streams/BatchAppend": ("deadline_duration",),
}
_GROUPS_SERVICE = "/event_store.client.persistent_subscriptions.PersistentSubscriptions/"
_GROUPS_FEATURES = ("stream", "all")


def server_features_service(methods: Methods) -> Methods:
    """Tells of these methods and of its own."""
    supported = SupportedMethods(
        event_store_server_version=VERSION, methods=_supported([*methods, PATH])
    )
    answer: bytes = supported.SerializeToString()

    async def get_supported_methods(call: Call) -> None:
        await call.send([answer])

    return {PATH: get_supported_methods}


def _supported(paths: Iterable[str]) -> list[Any]:
    """Clients look for names in lower case."""
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
