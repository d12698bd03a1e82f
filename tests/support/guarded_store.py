"""An event store that wants TLS, a password and rights, in front of the embedded one.

It refuses as EventStoreDB does: a wrong password in every call, and what the access-control lists
in the store, or their defaults, do not allow. What it allows the store behind it answers.
"""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
import tempfile
import threading
from collections.abc import AsyncIterator, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path
from typing import Any, Final, cast

import grpc.aio
from esdbclient import EventStoreDBClient
from esdbclient.exceptions import NotFound
from esdbclient.protos.Grpc import persistent_pb2, shared_pb2, streams_pb2

from lepret.deployment.certificates import Certified, certificate_for, new_authority
from lepret.eventstore.rpc import Call, Handler, Refusal, StatusCode
from lepret.eventstore.wire.grpc import GrpcServer
from lepret.eventstore.wire.http2.connection import Http2Connection
from lepret.eventstore.wire.http2.connections import Connections
from lepret.eventstore.wire.listening import listen
from tests.support.event_store import RunningEventStore
from tests.support.passing_on import GOSSIP, PATHS, pass_on
from tests.support.processes import PATIENCE

ADMINS, OPS, EVERYBODY = "$admins", "$ops", "$all"
_ALL: Final = "$all"
_SETTINGS: Final = "$settings"

# The embedded store, whose part the server here is, never answers with these.
_PERMISSION_DENIED: Final = cast(StatusCode, grpc.StatusCode.PERMISSION_DENIED.value[0])
_UNAUTHENTICATED: Final = cast(StatusCode, grpc.StatusCode.UNAUTHENTICATED.value[0])

_STREAMS: Final = "/event_store.client.streams.Streams"
_GROUPS: Final = "/event_store.client.persistent_subscriptions.PersistentSubscriptions"
# What members of `$ops` alone may do. Anybody with a password may ask about groups.
_OF_OPS: Final = tuple(
    f"{_GROUPS}/{name}" for name in ("Create", "Update", "Delete", "ReplayParked")
)
_ACCESSES: Final[Mapping[str, tuple[str, Any]]] = {
    f"{_STREAMS}/Read": ("$r", streams_pb2.ReadReq),
    f"{_STREAMS}/Append": ("$w", streams_pb2.AppendReq),
    f"{_STREAMS}/BatchAppend": ("$w", streams_pb2.BatchAppendReq),
    f"{_STREAMS}/Delete": ("$d", streams_pb2.DeleteReq),
    f"{_STREAMS}/Tombstone": ("$d", streams_pb2.TombstoneReq),
    f"{_GROUPS}/Read": ("$r", persistent_pb2.ReadReq),
}


@dataclass
class User:
    """A user as the event store knows it."""

    password: str
    groups: Collection[str] = ()


@dataclass(frozen=True)
class _Access:
    """What a call does with a stream: `$r` reads it, `$w` writes it, `$d` deletes it."""

    right: str
    stream: str


@dataclass
class GuardedStore:
    """A running one. Tests may change its `users` while it runs."""

    behind: RunningEventStore
    ca_file: Path
    users: dict[str, User]
    host: str = "127.0.0.1"
    port: int = 0
    denied: list[tuple[str, str]] = field(default_factory=list)
    """Who was denied what: the user's name and the method's, such as `Create`."""

    def __post_init__(self) -> None:
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.set_alpn_protocols(["h2"])

    def uri(self, user: str = "lepret", *, tls: bool = True, ca_file: Path | None = None) -> str:
        """The URI with which a user connects, with the password that the store knows."""
        login = f"{user}:{self.users[user].password}"
        options = f"tls=true&tlsCaFile={ca_file or self.ca_file}" if tls else "tls=false"
        return f"esdb://{login}@{self.host}:{self.port}?{options}"

    def show(self, certified: Certified) -> None:
        """Have this certificate from the next connection on."""
        with tempfile.NamedTemporaryFile("w") as file:
            file.write(certified.key + certified.certificate)
            file.flush()
            self._tls.load_cert_chain(file.name)

    # In the event loop of its own thread -------------------------------------------------------

    async def start(self) -> None:
        self._client = EventStoreDBClient(self.behind.uri)
        self._store = grpc.aio.insecure_channel(f"127.0.0.1:{self.behind.port}")
        self._server = GrpcServer({path: self._handler(path) for path in (GOSSIP, *PATHS)})
        self._connections = Connections[Http2Connection](500)
        connect = partial(Http2Connection, self._server.accept, self._connections)
        listener = listen(self.host, self.port)
        self.port = listener.getsockname()[1]
        loop = asyncio.get_running_loop()
        self._acceptor = await loop.create_server(connect, sock=listener, ssl=self._tls)

    async def stop(self) -> None:
        self._acceptor.close()
        await self._server.end_calls(Refusal(StatusCode.UNAVAILABLE, "The server shuts down."))
        for connection in list(self._connections):
            connection.abort()
        await self._store.close(grace=None)
        self._client.close()

    def _handler(self, path: str) -> Handler:
        async def handle(call: Call) -> None:
            name = self._authenticated(call)
            requests = call.requests()
            first = await anext(requests)
            access = _access(path, first)
            if not await asyncio.to_thread(self._may, name, path, access):
                self.denied.append((name, path.rpartition("/")[2]))
                if path == f"{_STREAMS}/BatchAppend":
                    await call.send([_denied_append(first)])
                    return
                raise Refusal(_PERMISSION_DENIED, "Access Denied", [("exception", "access-denied")])
            await pass_on(call, _again(first, requests), self._store, path)

        return handle

    def _authenticated(self, call: Call) -> str:
        """The name of the user who calls. Raises Refusal."""
        encoded = call.header("authorization").removeprefix("Basic ")
        name, _, password = base64.b64decode(encoded).decode().partition(":")
        if name not in self.users or self.users[name].password != password:
            raise Refusal(_UNAUTHENTICATED, "Unauthenticated")
        return name

    def _may(self, name: str, path: str, access: _Access | None) -> bool:
        groups = self.users[name].groups
        if ADMINS in groups:
            return True
        if path in _OF_OPS:
            return OPS in groups
        return access is None or not {name, EVERYBODY, *groups}.isdisjoint(self._roles(access))

    def _roles(self, access: _Access) -> Collection[str]:
        """Who has this right to the stream: by its own list, by the settings, or by default."""
        right, stream = access.right, access.stream
        if stream.startswith("$$"):
            right, stream = {"$r": "$mr", "$w": "$mw"}.get(right, right), stream[2:]
        is_of_system = stream.startswith("$")
        settings = self._last(_SETTINGS).get(
            "$systemStreamAcl" if is_of_system else "$userStreamAcl", {}
        )
        default = ADMINS if is_of_system or right == "$mw" else EVERYBODY
        of_stream = self._last(f"$${stream}").get("$acl", {})
        roles = of_stream.get(right) or settings.get(right) or default
        return [roles] if isinstance(roles, str) else roles

    def _last(self, stream: str) -> dict[str, Any]:
        try:
            (last,) = self._client.get_stream(stream, backwards=True, limit=1, timeout=PATIENCE)
        except NotFound:
            return {}
        return cast(dict[str, Any], json.loads(last.data))


def _access(path: str, request: bytes) -> _Access | None:
    if path not in _ACCESSES:
        return None
    right, message = _ACCESSES[path]
    options = message.FromString(request).options
    if path == f"{_STREAMS}/Read":
        options = options.stream
    # What does not name a stream is about all.
    return _Access(right, options.stream_identifier.stream_name.decode() or _ALL)


def _denied_append(request: bytes) -> bytes:
    asked = streams_pb2.BatchAppendReq.FromString(request)
    answer = streams_pb2.BatchAppendResp(
        correlation_id=asked.correlation_id, stream_identifier=asked.options.stream_identifier
    )
    answer.error.details.Pack(shared_pb2.AccessDenied())
    return answer.SerializeToString()


async def _again(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for request in rest:
        yield request


@cache
def authority() -> Certified:
    """The authority that signs for guarded stores, unless a test says otherwise."""
    return new_authority(datetime.now(UTC))


@cache
def certified() -> Certified:
    """The certificate of `127.0.0.1` and of `localhost` that guarded stores show."""
    return certificate_for("localhost", authority(), datetime.now(UTC))


@contextmanager
def running_guarded_store(
    behind: RunningEventStore, folder: Path, *, host: str = "127.0.0.1", port: int = 0
) -> Iterator[GuardedStore]:
    """Run one in a thread while the block runs.

    Its users are `lepret`, who has no right that others do not have, and `admin`. The certificate
    of its authority is in a file in `folder`.
    """
    ca_file = folder / "ca.crt"
    ca_file.write_text(authority().certificate)
    users = {"lepret": User("password"), "admin": User("changeit", [ADMINS])}
    store = GuardedStore(behind, ca_file, users, host, port)
    store.show(certified())
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(store.start(), loop).result(PATIENCE)
        try:
            yield store
        finally:
            asyncio.run_coroutine_threadsafe(store.stop(), loop).result(PATIENCE)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(PATIENCE)
        loop.close()
