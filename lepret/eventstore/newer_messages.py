"""Protocol messages that esdbclient lacks, or has with fewer fields."""

from typing import Any

from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pb2 import FieldDescriptorProto as Field
from google.protobuf.message_factory import GetMessages
from google.protobuf.timestamp_pb2 import DESCRIPTOR as _TIMESTAMPS

_PACKAGE = "lepret.eventstore"

_STRING = Field(type=Field.TYPE_STRING, label=Field.LABEL_OPTIONAL)
_STRINGS = Field(type=Field.TYPE_STRING, label=Field.LABEL_REPEATED)
_INT64 = Field(type=Field.TYPE_INT64, label=Field.LABEL_OPTIONAL)
_UINT64 = Field(type=Field.TYPE_UINT64, label=Field.LABEL_OPTIONAL)


def _nested(type_name: str, label: Field.Label.ValueType = Field.LABEL_OPTIONAL) -> Field:
    return Field(type=Field.TYPE_MESSAGE, type_name=type_name, label=label)


def _message(name: str, **fields: Field) -> DescriptorProto:
    """A message whose fields are numbered from 1, in this order."""
    message = DescriptorProto(name=name)
    for number, (field_name, field) in enumerate(fields.items(), start=1):
        message.field.add(name=field_name, number=number).MergeFrom(field)
    return message


_TIMESTAMP = _nested(".google.protobuf.Timestamp")
_POSITIONS = {"commit_position": _UINT64, "prepare_position": _UINT64}

# Fields have the protocol's names and numbers. In proto2, any field can be absent.
_FILE = FileDescriptorProto(
    name="lepret/eventstore.proto",
    package=_PACKAGE,
    syntax="proto2",
    dependency=["google/protobuf/timestamp.proto"],
    message_type=[
        _message(
            "SupportedMethods",
            methods=_nested(f".{_PACKAGE}.SupportedMethod", Field.LABEL_REPEATED),
            event_store_server_version=_STRING,
        ),
        _message("SupportedMethod", method_name=_STRING, service_name=_STRING, features=_STRINGS),
        _message("Position", **_POSITIONS),
        _message("Checkpoint", **_POSITIONS, timestamp=_TIMESTAMP),
        _message(
            "Reached",
            timestamp=_TIMESTAMP,
            stream_revision=_INT64,
            position=_nested(f".{_PACKAGE}.Position"),
        ),
    ],
)

_MESSAGES: dict[str, Any] = GetMessages(
    [FileDescriptorProto.FromString(_TIMESTAMPS.serialized_pb), _FILE]
)

SupportedMethods = _MESSAGES[f"{_PACKAGE}.SupportedMethods"]
SupportedMethod = _MESSAGES[f"{_PACKAGE}.SupportedMethod"]
Checkpoint = _MESSAGES[f"{_PACKAGE}.Checkpoint"]
Reached = _MESSAGES[f"{_PACKAGE}.Reached"]
"""The content of CaughtUp and FellBehind: the time, and how far the subscription has come."""
