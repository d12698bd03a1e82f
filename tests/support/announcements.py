"""What projectors have announced, and what they must have announced."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from lepret.common.event_store_client import event_store_client
from readmodels.live.broadcasts import CHANGED, POSITIONS
from readmodels.projections import PROJECTIONS, Projection
from readmodels.projections.rows import Rows
from readmodels.projector.received import ProjectedEvent, Received
from tests.support.broadcast_listener import Heard
from tests.support.commits import Commit
from tests.support.fork_server import Forked
from tests.support.projectors import handle

_BEGAN: Final = re.compile(r"^(\S+) INFO \S+ (\w+) is run here$", re.MULTILINE)
_LIVE: Final = re.compile(r"^(\S+) INFO \S+ (\w+) is caught up at (\d+)$", re.MULTILINE)


@dataclass(frozen=True)
class Change:
    """A loan request that a commit has changed, and the group that must be told."""

    commit: Commit
    group: str
    loan_request_id: UUID

    @property
    def told_by(self) -> tuple[str, str, UUID]:
        """The process that must announce it, the group, and the loan request."""
        return self.commit.process, self.group, self.loan_request_id


@dataclass(frozen=True)
class Run:
    """A time since `began_at` in which a process followed the store for a projection.

    `live_at` is the position at which it had caught up; `None` if it never had.
    """

    began_at: float
    live_at: int | None = None


class Told:
    """The announcements that were heard, by the process that made them."""

    def __init__(self, heard: Iterable[Heard]) -> None:
        self.counts: Counter[tuple[str, str, UUID]] = Counter()
        self._reached: dict[tuple[str, str], int] = {}
        for each in heard:
            if each.group == POSITIONS:
                for name, position in each.message["positions"].items():
                    self._reached[each.teller, name] = position
            elif each.message["type"] == CHANGED:
                self.counts.update(
                    (each.teller, each.group, UUID(id_)) for id_ in each.message["ids"]
                )

    def reached(self, process: str, name: str) -> int:
        """The last position of a projection that a process announced; 0 if there is none."""
        return self._reached.get((process, name), 0)


def changes_of(commits: Sequence[Commit]) -> Iterator[Change]:
    """All changes that commits must announce: each loan request once for each commit."""
    events = [Received(each) for each in event_store_client().read_all()]
    for name, projection in PROJECTIONS.items():
        taken = [each for each in events if each.recorded.type in projection.takes]
        changing = [each for each in taken if changes_rows(projection, each.event)]
        own = [each for each in commits if each.name == name]
        yield from _changes_of_one(projection, own, changing)


def _changes_of_one(
    projection: Projection, commits: Sequence[Commit], events: Sequence[Received]
) -> Iterator[Change]:
    if projection.group is None:
        return
    positions = [each.position for each in events]
    for commit in commits:
        begin, end = (bisect_right(positions, each) for each in (commit.after, commit.position))
        between = events[begin:end]
        for id_ in {each.event.id for each in between}:
            yield Change(commit, projection.group(id_), id_)


def changes_rows(projection: Projection, event: ProjectedEvent) -> bool:
    """Whether an event changes a projection's rows."""
    rows: Rows[Any] = Rows(projection.model)
    handle(projection, event, rows)
    return rows.changes > 0


def must_be_told(commit: Commit, process: Forked, told: Told) -> bool:
    """Whether the process that made a commit has certainly announced it before it ended.

    A process keeps changes until the projection is live, and sends them before the position that
    the projection has reached. So when it has announced a later position than the one where it went
    live, it has announced all changes up to there.
    """
    run = _run_with(commit, _runs(process, commit.name))
    if run.live_at is None:
        return False
    return told.reached(process.name, commit.name) >= max(commit.position, run.live_at + 1)


def _run_with(commit: Commit, runs: Sequence[Run]) -> Run:
    return next(each for each in reversed(runs) if each.began_at <= commit.at)


def _runs(process: Forked, name: str) -> Sequence[Run]:
    began = [_moment(at) for at, of in _BEGAN.findall(process.output) if of == name]
    live = [(_moment(at), int(to)) for at, of, to in _LIVE.findall(process.output) if of == name]
    # On SQLite there is one run, from the beginning.
    begins = began or [0.0]
    ends = [*begins[1:], float("inf")]
    return [
        Run(begin, next((to for at, to in live if begin <= at < end), None))
        for begin, end in zip(begins, ends, strict=True)
    ]


def _moment(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
