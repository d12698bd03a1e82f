"""A stand-in for a cluster of EventStoreDB: several nodes, whose gossip says what a test wants.

The nodes are real processes (`tests.support.cluster_node`), in front of one embedded event store.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from tests.support.event_store import EmbeddedEventStore
from tests.support.processes import PATIENCE, PROJECT, free_port

LEADER: Final = "Leader"
FOLLOWER: Final = "Follower"
UNKNOWN: Final = "Unknown"

# What becomes of appends.
ANSWERED: Final = "answered"
UNANSWERED: Final = "written, but not answered"
STUCK: Final = "neither written nor answered"


@dataclass(frozen=True)
class Member:
    """A node as another one, or itself, sees it."""

    port: int
    state: str = FOLLOWER
    is_alive: bool = True


@dataclass(frozen=True)
class Opinion:
    """What a node believes of its cluster, and what becomes of appends to it."""

    members: tuple[Member, ...] = ()
    appends: str = ANSWERED

    @property
    def leader(self) -> int | None:
        """The port of the node that it takes for the leader."""
        leaders = (each for each in self.members if each.state == LEADER and each.is_alive)
        return next((each.port for each in leaders), None)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Opinion:
        return cls(tuple(Member(**each) for each in document["members"]), document["appends"])


@dataclass
class Node:
    """A node, which may be frozen or dead."""

    port: int
    store_port: int
    opinion_file: Path
    opinion: Opinion = field(default_factory=Opinion)

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.port}"

    def begin(self) -> None:
        """Start it, without waiting for it."""
        ports = (str(self.port), str(self.store_port))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.cluster_node", *ports, str(self.opinion_file)],
            cwd=PROJECT,
            stdout=subprocess.PIPE,
            text=True,
        )

    def wait_until_ready(self) -> None:
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"

    def restart(self) -> None:
        """Start it again on its port."""
        self.begin()
        self.wait_until_ready()

    def believe(self, opinion: Opinion) -> None:
        """What it says from now on, also when it is started again."""
        self.opinion = opinion
        new = self.opinion_file.with_suffix(".new")
        new.write_text(json.dumps(asdict(opinion)))
        new.replace(self.opinion_file)

    def treat_appends(self, appends: str) -> None:
        """What becomes of appends from now on."""
        self.believe(replace(self.opinion, appends=appends))

    def freeze(self) -> None:
        """Stop it as a hanging machine stops: its connections stay open, and nothing answers."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        self._process.kill()
        self._end()

    def stop(self) -> None:
        self._process.terminate()
        self._end()

    def _end(self) -> None:
        self._process.wait(PATIENCE)
        assert self._process.stdout is not None
        self._process.stdout.close()


class Cluster:
    """Nodes of which the first one leads, until a test says otherwise."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        self.nodes = nodes
        self.elect(0)

    @property
    def uri(self) -> str:
        """Names all nodes, the first one first."""
        return f"esdb://{','.join(node.target for node in self.nodes)}?tls=false"

    def elect(
        self, leader: int | None, *, dead: Sequence[int] = (), among: Sequence[int] = ()
    ) -> None:
        """Have the nodes say who leads and who is dead; only those `among` them, if given.

        A dead node stays what it was in the eyes of the others.
        """
        for number in among or range(len(self.nodes)):
            node = self.nodes[number]
            before = {each.port: each for each in node.opinion.members}
            members = [
                replace(before[each.port], is_alive=False)
                if at in dead
                else Member(each.port, _state(at, leader))
                for at, each in enumerate(self.nodes)
            ]
            node.believe(replace(node.opinion, members=tuple(members)))


def _state(number: int, leader: int | None) -> str:
    if leader is None:
        return UNKNOWN
    return LEADER if number == leader else FOLLOWER


@contextmanager
def running_cluster(store: EmbeddedEventStore, folder: Path, *, size: int = 3) -> Iterator[Cluster]:
    """A cluster whose log is `store`."""
    ports: set[int] = set()
    while len(ports) < size:
        ports.add(free_port())
    nodes = [Node(port, store.port, folder / f"opinion-{port}.json") for port in sorted(ports)]
    cluster = Cluster(nodes)
    for node in nodes:
        node.begin()
    try:
        for node in nodes:
            node.wait_until_ready()
        yield cluster
    finally:
        for node in nodes:
            node.kill()
