"""What EventStoreDB, or TLS on the way to it, refuses: in words, with the remedy.

Of a connection that does not come about, gRPC tells only how its last try ended, in words of its
own that differ from case to case. So the nodes are looked at then.
"""

from __future__ import annotations

import os
import socket
import ssl
import time
from collections.abc import Iterator
from importlib.resources import as_file, files
from pathlib import Path
from typing import Final

import grpc
from esdbclient.connection_spec import ConnectionSpec
from esdbclient.exceptions import AccessDeniedError, LeaderNotFound, ServiceUnavailable

# How long the nodes are looked at, all together.
SECONDS_TO_LOOK: Final = 1.0

DENIED: Final = (grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED)

_SEE: Final = 'see "What EventStoreDB refuses" in docs/operations.md'
_READS_ALL: Final = "may not read $all"
_READS_STREAMS: Final = "may not read streams"
_MANAGES_GROUPS: Final = "may not make, change or delete persistent subscriptions"
# What a user may not do to whom a call of the client was denied, by the method's name.
_DENIED_IN: Final = {
    "append_to_stream": "may not append events",
    "get_stream": _READS_STREAMS,
    "get_streams": _READS_STREAMS,
    "create_subscription_to_all": _MANAGES_GROUPS,
    "update_subscription_to_all": _MANAGES_GROUPS,
    "delete_subscription": _MANAGES_GROUPS,
    "replay_parked_events": _MANAGES_GROUPS,
}

# OpenSSL's numbers.
_NOT_YET_VALID: Final = 9
_EXPIRED: Final = 10
_FOR_ANOTHER_HOST: Final = (62, 64)

# The beginning of a connection that speaks HTTP/2 without TLS, and of its answer, a frame.
_PREFACE_AND_SETTINGS: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(
    [0, 0, 0, 4, 0, 0, 0, 0, 0]
)
_FRAME_HEADER_BYTES: Final = 9
_TYPE_OF_SETTINGS: Final = 4


def in_words(error: BaseException, connection_spec: ConnectionSpec) -> str | None:
    """What was refused, and what to do; `None` if the error is no refusal. It has no secrets.

    If no connection came about, this looks for up to `SECONDS_TO_LOOK` at what the nodes speak.
    """
    for each in _with_causes(error):
        status = status_of(each)
        if status is grpc.StatusCode.UNAUTHENTICATED:
            return _of_password(connection_spec)
        if status is grpc.StatusCode.PERMISSION_DENIED or isinstance(each, AccessDeniedError):
            return _of_right(each, connection_spec)
        if isinstance(each, (ServiceUnavailable, LeaderNotFound, OSError)):
            return _of_files(connection_spec) or _of_connection(connection_spec)
    return None


def status_of(error: BaseException) -> grpc.StatusCode | None:
    """With which status a call failed, if this is esdbclient's error for it, or gRPC's own."""
    cause = error.args[0] if error.args else None
    call = next((each for each in (error, cause) if isinstance(each, grpc.Call)), None)
    return None if call is None else call.code()


def note_method(error: BaseException, method: str) -> None:
    """Note with an error which method of the client was called, for `in_words`."""
    error.add_note(_note(method))


def _note(method: str) -> str:
    return f"In {method}"


def _with_causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _of_password(spec: ConnectionSpec) -> str:
    if not spec.username:
        return "EventStoreDB wants a password: put a user and its password into EVENTSTORE_URI"
    return (
        f"EventStoreDB refuses the password of {spec.username}, or has no such user: correct "
        "EVENTSTORE_URI, or the user in EventStoreDB"
    )


def _of_right(error: BaseException, spec: ConnectionSpec) -> str:
    notes = getattr(error, "__notes__", ())
    denied = (what for method, what in _DENIED_IN.items() if _note(method) in notes)
    user = spec.username or "a client without a password"
    return f"{user} {next(denied, _READS_ALL)} in EventStoreDB: {_SEE}"


def _of_files(spec: ConnectionSpec) -> str | None:
    """Which file that the URI names cannot be read, or used."""
    options = spec.options
    named = {
        "userKeyFile": options.UserKeyFile,
        "userCertFile": options.UserCertFile,
        "tlsCaFile": options.TlsCaFile,
    }
    for name, path in named.items():
        try:
            if path is not None:
                Path(path).read_bytes()
        except OSError as error:
            return f"{name}={path} in EVENTSTORE_URI cannot be read ({error.strerror})"
    try:
        if options.TlsCaFile is not None:
            _trusting_as_grpc_does(spec)
    except ssl.SSLError:
        return f"tlsCaFile={options.TlsCaFile} in EVENTSTORE_URI has no certificate in PEM"
    return None


def _of_connection(spec: ConnectionSpec) -> str | None:
    """What the first node that has anything against a connection has against it."""
    until = time.monotonic() + SECONDS_TO_LOOK
    for target in spec.targets:
        try:
            if words := _of_node(target, spec, until):
                return words
        except OSError:
            pass  # It is away, or hangs: that is no refusal.
    return None


def _of_node(target: str, spec: ConnectionSpec, until: float) -> str | None:
    if not spec.options.Tls:
        _shake_hands(target, _trusting_all(), until)
        return f"{target} speaks TLS, and EVENTSTORE_URI says tls=false: take that out"
    try:
        _shake_hands(target, _trusting_as_grpc_does(spec), until)
    except ssl.SSLCertVerificationError as error:
        return _of_certificate(target, error, spec)
    except (ssl.SSLError, ConnectionError):
        if _speaks_without_tls(target, until):
            return (
                f"{target} speaks no TLS, and EVENTSTORE_URI wants it: give the node a "
                "certificate, or add tls=false"
            )
        raise
    return None


def _of_certificate(target: str, error: ssl.SSLCertVerificationError, spec: ConnectionSpec) -> str:
    of = f"the certificate of {target}"
    match error.verify_code:
        case number if number in _FOR_ANOTHER_HOST:
            return f"{of} is for other hosts: name the node as its certificate does, or renew that"
        case number if number == _EXPIRED:
            return f"{of} has expired, by the clock of this machine: renew it"
        case number if number == _NOT_YET_VALID:
            return f"{of} is not valid yet, by the clock of this machine: correct one of the two"
    if spec.options.TlsCaFile is None:
        return f"{of} is signed by none that is trusted: name its authority's file by tlsCaFile"
    return f"{of} is signed by none that tlsCaFile={spec.options.TlsCaFile} names: correct the file"


def _connected(target: str, until: float) -> socket.socket:
    host, _, port = target.rpartition(":")
    seconds = until - time.monotonic()
    if seconds <= 0:
        raise TimeoutError
    return socket.create_connection((host.strip("[]"), int(port)), seconds)


def _shake_hands(target: str, context: ssl.SSLContext, until: float) -> None:
    host = target.rpartition(":")[0].strip("[]")
    with _connected(target, until) as connection:
        context.wrap_socket(connection, server_hostname=host).close()


def _speaks_without_tls(target: str, until: float) -> bool:
    with _connected(target, until) as connection:
        connection.sendall(_PREFACE_AND_SETTINGS)
        answer = connection.recv(_FRAME_HEADER_BYTES)
    return len(answer) == _FRAME_HEADER_BYTES and answer[3] == _TYPE_OF_SETTINGS


def _trusting_all() -> ssl.SSLContext:
    # Nothing is sent to whom it trusts.
    context = _context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _trusting_as_grpc_does(spec: ConnectionSpec) -> ssl.SSLContext:
    """Raises ssl.SSLError: the file of authorities has none."""
    context = _context()
    named = spec.options.TlsCaFile or os.environ.get("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH")
    if named:
        context.load_verify_locations(named)
        return context
    with as_file(files("grpc._cython").joinpath("_credentials/roots.pem")) as own:
        context.load_verify_locations(own)
    return context


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_alpn_protocols(["h2"])
    return context
