"""Has gRPC notice that nobody answers on a connection any more, and say nothing of its own.

A node that hangs, or whose cable is pulled, closes no connection: without pings, calls wait on it
for their deadlines, and subscriptions for ever.
"""

from __future__ import annotations

import os
from typing import Final

from esdbclient.common import GrpcOptions
from esdbclient.connection_spec import URI_SCHEME_ESDB, ConnectionSpec

# Milliseconds: how long nothing is heard until a ping is sent, and until its answer must be there.
INTERVAL: Final = 1_500
TIMEOUT_IN_A_CLUSTER: Final = 1_500
# Nobody takes over from a single node, which is better waited for.
TIMEOUT_OF_A_NODE: Final = 5_000

# It would log each try to connect that TLS ends, ten times a second. The error has the same words.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

# Milliseconds. Who reads a stream slowly finds its next messages received, and does not look at the
# connection for seconds: gRPC looks by itself, but every five seconds, when a ping has long failed.
os.environ.setdefault("GRPC_CLIENT_CHANNEL_BACKUP_POLL_INTERVAL_MS", "100")

_NEVER: Final = 2**31 - 1
_OURS: Final = frozenset({"grpc.keepalive_ms", "grpc.keepalive_timeout_ms"})


def is_cluster(spec: ConnectionSpec) -> bool:
    """Whether a URI names a cluster, whose leader must be found."""
    return spec.scheme != URI_SCHEME_ESDB or len(spec.targets) > 1


def with_keepalive(options: GrpcOptions, spec: ConnectionSpec) -> GrpcOptions:
    """The options of a channel, with pings as the URI wants them, or as above.

    esdbclient passes what the URI says under a name that gRPC does not know. Of options that are
    given twice gRPC takes the first.
    """
    otherwise = TIMEOUT_IN_A_CLUSTER if is_cluster(spec) else TIMEOUT_OF_A_NODE
    timeout = _milliseconds(spec.options.KeepAliveTimeout, otherwise)
    return (
        ("grpc.keepalive_time_ms", _milliseconds(spec.options.KeepAliveInterval, INTERVAL)),
        ("grpc.keepalive_timeout_ms", timeout),
        # Without it, pings have a minute to be answered, whatever the other says.
        ("grpc.http2.ping_timeout_ms", timeout),
        # Also between calls, and any number of them.
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        *(option for option in options if option[0] not in _OURS),
    )


def _milliseconds(wanted: int | None, otherwise: int) -> int:
    if wanted is None:
        return otherwise
    # As in EventStoreDB's own clients, 0 and -1 turn it off.
    return min(wanted, _NEVER) if wanted > 0 else _NEVER
