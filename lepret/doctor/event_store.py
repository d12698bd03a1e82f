"""Whether the event store answers, and takes events."""

from __future__ import annotations

from contextlib import suppress
from typing import Final

import grpc
from esdbclient.connection_spec import ConnectionSpec
from esdbclient.exceptions import (
    DeadlineExceeded,
    LeaderNotFound,
    NodeIsNotLeader,
)
from esdbclient.protos.Grpc.shared_pb2 import Empty
from google.protobuf.unknown_fields import (  # type: ignore[import-not-found]  # Has no stubs.
    UnknownFieldSet,
)

from lepret.common.event_store_client import event_store_client, why_refused
from lepret.common.event_store_connection import FilesUnreadable, SharedClient
from lepret.common.event_store_health import EventStoreCheck, TakesNoEvents
from lepret.common.event_store_refusals import in_words
from lepret.doctor.places import Place
from lepret.doctor.report import SECONDS_FOR_AN_ANSWER, Trouble, causes

VARIABLE: Final = "EVENTSTORE_URI"
# esdbclient has no such call. The version is the second field of the answer.
_FEATURES: Final = "/event_store.client.server_features.ServerFeatures/GetSupportedMethods"
_VERSION: Final = 2


def reads() -> str:
    """See that it answers, without an append, for which a projector has no right.

    Raises:
        Trouble: it does not.
    """
    client = shared_client()
    try:
        # Of any kind, system events too: the store need not search for it.
        client.get_commit_position(filter_exclude=(), timeout=SECONDS_FOR_AN_ANSWER)
    except Exception as error:  # noqa: BLE001 (esdbclient's or gRPC's)
        raise _trouble_of(error, client.connection_spec) from None
    return f"{_described(client)} answers; whether it takes events was not tried"


def reads_and_appends() -> str:
    """See that it answers, and takes events.

    Raises:
        Trouble: it does not.
    """
    client = shared_client()
    try:
        EventStoreCheck()(timeout=SECONDS_FOR_AN_ANSWER)
    except TakesNoEvents as error:
        raise _trouble_with_appends(error.__cause__, client.connection_spec) from None
    except Exception as error:  # noqa: BLE001 (as above)
        raise _trouble_of(error, client.connection_spec) from None
    return f"{_described(client)} answers, and takes events"


def shared_client() -> SharedClient:
    """The process's client.

    Raises:
        Trouble: its URI cannot be used.
    """
    try:
        client = event_store_client()
    except ValueError:  # Its words quote the URI.
        raise Trouble(
            f"{VARIABLE} cannot be read: without tls=false it needs a user and a password, of "
            "letters, digits and -._~ only; docs/operations.md has its form"
        ) from None
    except FilesUnreadable as error:
        raise Trouble(why_refused(error) or f"files that {VARIABLE} names are missing") from None
    for target in client.connection_spec.targets:
        _place(target)
    return client


def _place(target: str) -> Place:
    host, _, port = target.rpartition(":")
    return Place("the event store", VARIABLE, host, port)


def _described(client: SharedClient) -> str:
    user = client.connection_spec.username
    as_user = f" as {user}" if user else ""
    return f"EventStoreDB {_version(client)} at {client.connection.grpc_target}{as_user}"


def _version(client: SharedClient) -> str:
    ask = client.connection._grpc_channel.unary_unary(  # noqa: SLF001
        _FEATURES,
        request_serializer=Empty.SerializeToString,
        response_deserializer=Empty.FromString,
    )
    with suppress(grpc.RpcError):  # Nothing else depends on it.
        answer = ask(Empty(), timeout=1, **client.read_options())
        for each in UnknownFieldSet(answer):
            if each.field_number == _VERSION:
                return str(each.data.decode(errors="replace"))
    return "of an unknown version"


def _trouble_with_appends(error: BaseException | None, spec: ConnectionSpec) -> Trouble:
    if error is not None and (refusal := in_words(error, spec)):
        return Trouble(f"{refusal} (a projector needs no such right: add --no-appends there)")
    places = ", ".join(spec.targets)
    if isinstance(error, NodeIsNotLeader):
        return Trouble(f"{places} does not lead: name all nodes in {VARIABLE}")
    return Trouble(
        f"{places} can be read, and takes no events: make room on its disk, or see why it has no "
        "leader; nothing needs to be restarted afterwards"
    )


def _trouble_of(error: BaseException, spec: ConnectionSpec) -> Trouble:
    if refusal := in_words(error, spec):
        return Trouble(refusal)
    place = _place(spec.targets[0])
    match error:
        case LeaderNotFound() if len(spec.targets) > 1:
            nodes = ", ".join(spec.targets)
            return Trouble(f"none of {nodes} says that it leads: start a majority of the nodes")
        case DeadlineExceeded():
            return place.silent()
    words = "\n".join(str(each) for each in causes(error))
    return place.trouble_in(words) or Trouble(
        f"{place} does not answer as an event store ({type(error).__qualname__}): see its log, and "
        f"whether only one side uses TLS ({VARIABLE})"
    )
