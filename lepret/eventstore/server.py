"""The server: wires its parts together, and starts and stops them in order."""

import asyncio
import socket
from dataclasses import dataclass
from pathlib import Path

from lepret.eventstore.persistent.groups import Groups
from lepret.eventstore.persistent.service import persistent_subscriptions_service
from lepret.eventstore.rpc import Refusal, StatusCode
from lepret.eventstore.services.gossip import gossip_service
from lepret.eventstore.services.health import health_service
from lepret.eventstore.services.read_calls import ReadCalls
from lepret.eventstore.services.server_features import server_features_service
from lepret.eventstore.services.streams import streams_service
from lepret.eventstore.services.write_calls import WriteCalls
from lepret.eventstore.storage.group_commit import GroupCommit
from lepret.eventstore.storage.history import History
from lepret.eventstore.storage.log import Log
from lepret.eventstore.storage.tail import Tail
from lepret.eventstore.wire.grpc import GrpcServer
from lepret.eventstore.wire.http2.connection import Http2Connection
from lepret.eventstore.wire.http2.connections import Connections
from lepret.eventstore.wire.listening import BACKLOG

MAX_CONNECTIONS = 500
"""Below the 1,024 files that a process may usually have open."""


@dataclass(frozen=True)
class StopLimits:
    """How long each step of a stop may take, in seconds."""

    checkpoints: float = 0.4
    """Persistent subscriptions write their checkpoints."""
    answers: float = 0.8
    """Clients receive the answers to their last writes."""
    connections: float = 0.4
    """Clients receive how their other calls end."""


class Server:
    """Serves a prepared data file on a listening socket."""

    def __init__(
        self, path: Path, listener: socket.socket, limits: StopLimits = StopLimits()
    ) -> None:
        """Needs a running event loop. Raises sqlite3.Error."""
        self._limits = limits
        self._log = Log(path)
        self._tail = Tail(self._log.head)
        self._history = History(self._log)
        self._commit = GroupCommit(self._log, self._tail.publish)
        self._writes = WriteCalls(self._commit)
        self._groups = Groups(self._history, self._tail, self._commit)
        methods = {
            **streams_service(ReadCalls(self._history, self._tail), self._writes),
            **persistent_subscriptions_service(self._groups),
            **gossip_service(),
        }
        self._grpc = GrpcServer(
            {**methods, **server_features_service(methods), **health_service(methods)}
        )
        self._connections = Connections[Http2Connection](MAX_CONNECTIONS)
        self._listener = listener

    async def serve(self, until: asyncio.Event) -> None:
        """Serve clients until ``until`` is set, then stop in order.

        Appends that have arrived are written and answered, other calls end as UNAVAILABLE, and
        the write-ahead log is moved into the file.
        """
        loop = asyncio.get_running_loop()
        acceptor = await loop.create_server(
            self._connect, sock=self._listener, backlog=BACKLOG, start_serving=False
        )
        try:
            await self._groups.start()
            await acceptor.start_serving()
            watching = asyncio.create_task(self._grpc.watch())
            await until.wait()
            watching.cancel()
        finally:
            acceptor.close()
            await self._end_calls()
            await self._disconnect()
            self._history.close()
            self._log.close()

    def _connect(self) -> Http2Connection:
        return Http2Connection(self._grpc.accept, self._connections)

    async def _end_calls(self) -> None:
        """Refuse new calls, finish the writes, then end all other calls."""
        shutting_down = Refusal(StatusCode.UNAVAILABLE, "The server is shutting down.")
        self._grpc.refuse_calls(shutting_down)
        await self._groups.stop(within=self._limits.checkpoints)
        self._commit.close()
        await self._writes.answered(within=self._limits.answers)
        await self._grpc.end_calls(shutting_down)

    async def _disconnect(self) -> None:
        connections = list(self._connections)
        for connection in connections:
            connection.close()
        closing = asyncio.gather(*(connection.closed.wait() for connection in connections))
        try:
            await asyncio.wait_for(closing, self._limits.connections)
        except TimeoutError:
            for connection in connections:
                connection.abort()
