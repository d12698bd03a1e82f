"""Messages that clients know, and that esdbclient comes without or knows by fewer fields."""

from typing import Any

from google.protobuf import descriptor_pb2, text_format, timestamp_pb2
from google.protobuf.message_factory import GetMessages

_PACKAGE = "lepret.eventstore"

# Fields and numbers are the protocol's; in the older syntax, where each field can be absent.
_FILE = """
name: "lepret/eventstore.proto"
package: "lepret.eventstore"
syntax: "proto2"
dependency: "google/protobuf/timestamp.proto"
message_type {
  name: "SupportedMethods"
  field {
    name: "methods" number: 1 label: LABEL_REPEATED type: TYPE_MESSAGE
    type_name: ".lepret.eventstore.SupportedMethod"
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
message_type {
  name: "Reached"
  field {
    name: "timestamp" number: 1 label: LABEL_OPTIONAL type: TYPE_MESSAGE
    type_name: ".google.protobuf.Timestamp"
  }
  field { name: "stream_revision" number: 2 label: LABEL_OPTIONAL type: TYPE_INT64 }
  field {
    name: "position" number: 3 label: LABEL_OPTIONAL type: TYPE_MESSAGE
    type_name: ".lepret.eventstore.Position"
  }
}
message_type {
  name: "Checkpoint"
  field { name: "commit_position" number: 1 label: LABEL_OPTIONAL type: TYPE_UINT64 }
  field { name: "prepare_position" number: 2 label: LABEL_OPTIONAL type: TYPE_UINT64 }
  field {
    name: "timestamp" number: 3 label: LABEL_OPTIONAL type: TYPE_MESSAGE
    type_name: ".google.protobuf.Timestamp"
  }
}
message_type {
  name: "Position"
  field { name: "commit_position" number: 1 label: LABEL_OPTIONAL type: TYPE_UINT64 }
  field { name: "prepare_position" number: 2 label: LABEL_OPTIONAL type: TYPE_UINT64 }
}
"""


def _messages() -> dict[str, Any]:
    described = timestamp_pb2.DESCRIPTOR.serialized_pb
    timestamps = descriptor_pb2.FileDescriptorProto.FromString(described)
    ours = text_format.Parse(_FILE, descriptor_pb2.FileDescriptorProto())
    messages: dict[str, Any] = GetMessages([timestamps, ours])
    return messages


_MESSAGES = _messages()

SupportedMethods = _MESSAGES[f"{_PACKAGE}.SupportedMethods"]
SupportedMethod = _MESSAGES[f"{_PACKAGE}.SupportedMethod"]

Checkpoint = _MESSAGES[f"{_PACKAGE}.Checkpoint"]

Reached = _MESSAGES[f"{_PACKAGE}.Reached"]
"""What CaughtUp and FellBehind say: when that was, and how far the subscription had come."""
