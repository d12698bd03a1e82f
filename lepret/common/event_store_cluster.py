"""Finds the node of a cluster that leads.

A leader is who says so itself, since the others go on naming one that hangs or is gone. One that
is cut off from the others goes on calling itself leader, too. So the one that most nodes name is
taken, and none whose calls were not answered in time, as long as there is another.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any, Final

import grpc
from esdbclient.common import handle_rpc_error
from esdbclient.exceptions import LeaderNotFound
from esdbclient.protos.Grpc import gossip_pb2, gossip_pb2_grpc, shared_pb2

from lepret.common.event_store_refusals import DENIED

# How long each node has for its answer, and the pause before all are asked again.
SECONDS_TO_ANSWER: Final = 1.0
_PAUSE_SECONDS: Final = 0.1
# gRPC may be a little late in telling that a call has met its deadline.
_GRACE_SECONDS: Final = 0.5
# How long another leader is preferred to one that did not answer in time.
_SUSPECTED_SECONDS: Final = 30.0

OpenChannel = Callable[[str], grpc.Channel]


class Cluster:
    """The nodes that a URI names, and those that they have named.

    `open_channel` makes a channel to a node; `call_options` go with each question. Threads may
    share it.
    """

    def __init__(
        self, named: Sequence[str], *, open_channel: OpenChannel, **call_options: Any
    ) -> None:
        self._named = tuple(named)
        self._open_channel = open_channel
        self._call_options = call_options
        self._members: Collection[str] = ()
        self._suspected_until: dict[str, float] = {}

    def suspect(self, node: str) -> None:
        """Note that a node did not answer a call in time."""
        self._suspected_until[node] = time.monotonic() + _SUSPECTED_SECONDS

    def leader(self, *, within: float) -> str:
        """The host and port of the leader; asks again until there is one, for `within` seconds.

        Raises:
            LeaderNotFound: there was none in time.
            GrpcError: all nodes that answered refused to tell.
        """
        give_up_at = time.monotonic() + within
        while True:
            answers = self._ask_all(min(give_up_at, time.monotonic() + SECONDS_TO_ANSWER))
            self._members = answers.members or self._members
            if answers.leader is not None:
                return answers.leader
            if answers.refusal is not None:
                raise handle_rpc_error(answers.refusal)
            if time.monotonic() + _PAUSE_SECONDS >= give_up_at:
                nodes = ", ".join(self._named)
                raise LeaderNotFound(f"No leader among {nodes} in time") from answers.failure
            time.sleep(_PAUSE_SECONDS)

    def _ask_all(self, until: float) -> _Answers:
        """Ask all nodes at once, and those that they name, until enough have answered."""
        answers = _Answers(self._is_suspect)
        ended: SimpleQueue[tuple[str, Any]] = SimpleQueue()
        asked: set[str] = set()
        ended_count = 0
        with ExitStack() as channels:
            while True:
                for node in {*self._named, *self._members, *answers.members} - asked:
                    asked.add(node)
                    self._ask(node, channels.enter_context(self._open_channel(node)), until, ended)
                try:
                    node, call = ended.get(timeout=_left(until) + _GRACE_SECONDS)
                except Empty:
                    return answers
                answers.add(node, call)
                ended_count += 1
                if answers.are_enough or ended_count == len(asked.union(answers.members)):
                    return answers

    def _ask(
        self, node: str, channel: grpc.Channel, until: float, ended: SimpleQueue[tuple[str, Any]]
    ) -> None:
        stub = gossip_pb2_grpc.GossipStub(channel)  # type: ignore[no-untyped-call]
        call = stub.Read.future(shared_pb2.Empty(), timeout=_left(until), **self._call_options)
        call.add_done_callback(lambda _: ended.put((node, call)))

    def _is_suspect(self, node: str) -> bool:
        return time.monotonic() < self._suspected_until.get(node, 0.0)


@dataclass
class _Answers:
    """What nodes have answered so far."""

    is_suspect: Callable[[str], bool]
    members: set[str] = field(default_factory=set)
    failure: grpc.RpcError | None = None
    _are_told: bool = False
    _named_by: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    _sizes: dict[str, int] = field(default_factory=dict)

    def add(self, node: str, call: Any) -> None:
        """Take a node's answer, which may be that there is none."""
        try:
            self._hear(node, call.result())
        except grpc.RpcError as failure:
            # A refusal tells more than silence.
            if self.refusal is None:
                self.failure = failure

    def _hear(self, node: str, told: gossip_pb2.ClusterInfo) -> None:
        self._are_told = True
        # A single one tells of itself, by whatever address it knows.
        is_alone = len(told.members) == 1
        seen = {node if is_alone else _address(each): each for each in told.members}
        self.members.update(seen)
        if node not in seen:
            return  # It was asked by another address than its own, and will be by that, too.
        for member, info in seen.items():
            if info.is_alive and info.state == gossip_pb2.MemberInfo.Leader:
                self._named_by[member].add(node)
        if node in self._named_by[node]:
            self._sizes[node] = len(seen)

    @property
    def leader(self) -> str | None:
        """Who is to be taken for the leader if nobody answers any more."""
        return min(
            self._sizes,
            key=lambda node: (self.is_suspect(node), -len(self._named_by[node])),
            default=None,
        )

    @property
    def are_enough(self) -> bool:
        """Whether a majority agrees on a leader who answers."""
        leader = self.leader
        if leader is None or self.is_suspect(leader):
            return False
        return 2 * len(self._named_by[leader]) > self._sizes[leader]

    @property
    def refusal(self) -> grpc.RpcError | None:
        """Why nobody tells anything, if it is for want of a right."""
        if self._are_told or not isinstance(self.failure, grpc.Call):
            return None
        return self.failure if self.failure.code() in DENIED else None


def _left(until: float) -> float:
    return max(0.0, until - time.monotonic())


def _address(member: gossip_pb2.MemberInfo) -> str:
    host, port = member.http_end_point.address, member.http_end_point.port
    return f"[{host}]:{port}" if ":" in host and not host.startswith("[") else f"{host}:{port}"
