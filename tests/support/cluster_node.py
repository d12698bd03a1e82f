"""A node of a stand-in for a cluster, in a process of its own that can be frozen and killed.

    python -m tests.support.cluster_node PORT STORE_PORT OPINION_FILE

All nodes pass calls on to one embedded event store, the log that a cluster replicates. What a node
believes of the cluster is in its file, which tests write: see `tests.support.clusters.Opinion`. As
in EventStoreDB, a node that does not lead sends clients that want the leader to whom it takes for
that.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from functools import partial
from pathlib import Path

import grpc.aio
from esdbclient.protos.Grpc import gossip_pb2

from lepret.eventstore.rpc import Call, Handler, Methods, Refusal, StatusCode
from lepret.eventstore.wire.grpc import GrpcServer
from lepret.eventstore.wire.http2.connection import Http2Connection
from lepret.eventstore.wire.http2.connections import Connections
from lepret.eventstore.wire.listening import listen
from tests.support.clusters import ANSWERED, STUCK, UNANSWERED, Opinion
from tests.support.passing_on import GOSSIP, PATHS, pass_on

HOST = "127.0.0.1"
_APPENDS = ("Append", "BatchAppend")


class Node:
    """Answers gossip itself, and has the store behind it answer everything else."""

    def __init__(self, port: int, opinion_file: Path) -> None:
        self._port = port
        self._opinion_file = opinion_file

    def methods(self, store: grpc.aio.Channel) -> Methods:
        return {GOSSIP: self.gossip, **{path: self._handler(store, path) for path in PATHS}}

    async def gossip(self, call: Call) -> None:
        members = [
            gossip_pb2.MemberInfo(
                state=gossip_pb2.MemberInfo.VNodeState.Value(member.state),
                is_alive=member.is_alive,
                http_end_point=gossip_pb2.EndPoint(address=HOST, port=member.port),
            )
            for member in self._opinion().members
        ]
        await call.send([gossip_pb2.ClusterInfo(members=members).SerializeToString()])

    def _handler(self, store: grpc.aio.Channel, path: str) -> Handler:
        async def handle(call: Call) -> None:
            opinion = self._opinion()
            if opinion.leader != self._port and call.header("requires-leader") == "true":
                raise _not_leader(opinion)
            is_append = path.endswith(_APPENDS)
            if not (is_append and opinion.appends == STUCK):
                is_answered = not (is_append and opinion.appends == UNANSWERED)
                await pass_on(call, call.requests(), store, path, is_answered=is_answered)
            if is_append and opinion.appends != ANSWERED:
                await asyncio.Event().wait()  # Until the client gives up.

        return handle

    def _opinion(self) -> Opinion:
        return Opinion.from_json(json.loads(self._opinion_file.read_text()))


def _not_leader(opinion: Opinion) -> Refusal:
    if opinion.leader is None:
        return Refusal(StatusCode.UNAVAILABLE, "Server Is Not Ready")
    leader = (("leader-endpoint-host", HOST), ("leader-endpoint-port", str(opinion.leader)))
    return Refusal(StatusCode.NOT_FOUND, "Leader info available", leader)


async def main(port: int, store_port: int, opinion_file: Path) -> None:
    """Serve until SIGTERM."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    async with grpc.aio.insecure_channel(f"{HOST}:{store_port}") as store:
        server = GrpcServer(Node(port, opinion_file).methods(store))
        connections = Connections[Http2Connection](500)
        connect = partial(Http2Connection, server.accept, connections)
        await loop.create_server(connect, sock=listen(HOST, port))
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        await stop.wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])))
