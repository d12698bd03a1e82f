"""The status of each projection: how far it has come, how far it is behind, and what stopped it.

The command line, the back office, `/readyz` and `/metrics` all show this.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum
from typing import Final

from django.utils import timezone
from esdbclient.exceptions import EventStoreDBClientException

from lepret.common.event_store_client import event_store_client, why_refused
from readmodels.models import Checkpoint, Failure, Progress, Rebuild
from readmodels.monitoring.lag import (
    MOST_COUNTED,
    READ_SECONDS,
    Lag,
    Lags,
    LagUnknown,
    lags_at,
)
from readmodels.projections import PROJECTIONS
from readmodels.projector import bookmarks
from readmodels.projector.bookmarks import Bookmark, StoreReplaced

# The speed of a projection that has applied nothing for so long is 0.
SPEED_HOLDS_FOR: Final = timedelta(seconds=10)


class State(StrEnum):
    """The status of a projection in a few words."""

    STOPPED = "stopped"
    STORE_REPLACED = "store replaced"
    WAITING = "waiting for a newer version"
    NOT_BUILT = "not built"
    REBUILDING = "rebuilding"
    NEW_VERSION_WAITING = "new version waiting"
    UNKNOWN = "unknown"
    BEHIND = "behind"
    LEVEL = "level"


@dataclass(frozen=True, kw_only=True)
class ProjectionStatus:
    """The status of one projection.

    `code_version` is the version that this program has, `version` the one that built the rows.
    `store_position` and `lag` are `None` if the event store did not answer, or refused to, and
    `why_unknown` says so then. `failure` is why the
    projection is stopped, `rebuild_failure` why the rebuild beside it is. `store_replaced` says
    that the rows come from another event store, or from this one before it went back; there is no
    `lag` then.
    `waiting` is set if it waits for a projector of a newer version, since only that can read the
    next event.
    """

    name: str
    code_version: int
    checkpoint: Checkpoint | None = None
    rebuild: Rebuild | None = None
    failure: Failure | None = None
    waiting: Failure | None = None
    rebuild_failure: Failure | None = None
    store_position: int | None = None
    lag: Lag | None = None
    why_unknown: str = "the event store does not answer"
    store_replaced: bool = False

    @property
    def state(self) -> State:
        """The worst of the states that apply."""
        is_outdated = self.checkpoint is not None and self.checkpoint.version < self.code_version
        states = (
            (State.STOPPED, self.failure is not None),
            (State.STORE_REPLACED, self.store_replaced),
            (State.WAITING, self.waiting is not None),
            (State.REBUILDING, self.rebuild is not None),
            (State.NOT_BUILT, self.checkpoint is None),
            (State.NEW_VERSION_WAITING, is_outdated),
            (State.UNKNOWN, self.lag is None),
            (State.BEHIND, self.lag is not None and self.lag.events > 0),
        )
        return next((state for state, applies in states if applies), State.LEVEL)

    @property
    def version(self) -> int | None:
        """The version that built the rows; `None` if there are none."""
        return self.checkpoint.version if self.checkpoint else None

    @property
    def position(self) -> int:
        """The position of the last event that was applied; 0 if none was."""
        return self.checkpoint.position if self.checkpoint else 0

    @property
    def bookmark(self) -> Bookmark:
        """The last event that was applied."""
        return Bookmark.of(self.checkpoint) if self.checkpoint else Bookmark()

    @property
    def events(self) -> int:
        """How many events were applied since the table was empty."""
        return self.checkpoint.events if self.checkpoint else 0

    @property
    def events_per_second(self) -> float:
        """How fast events are being applied; 0 if none was for a while."""
        return speed_of(self.checkpoint)

    @property
    def rebuilt_share(self) -> float | None:
        """How much of the store a rebuild has read, from 0 to 1; `None` if not known."""
        if self.rebuild is None or not self.store_position:
            return None
        return min(1.0, self.rebuild.position / self.store_position)

    def trouble(self, max_lag_seconds: float) -> str:
        """What is wrong, in words; empty if nothing is."""
        if self.failure is not None:
            return f"stopped at {self.failure.position}: {self.failure.error}"
        if self.store_replaced:
            return "the event store went back, or is another one: `manage.py rebuild`"
        if self.checkpoint is None:
            return "not built"
        if self.lag is None:
            return f"unknown, since {self.why_unknown}"
        if self.lag.seconds > max_lag_seconds:
            return f"{self.lag.seconds:.1f} seconds behind{self._waiting_in_words}"
        return ""

    @property
    def _waiting_in_words(self) -> str:
        if self.waiting is None:
            return ""
        return f", waiting at {self.waiting.position}: {self.waiting.error}"


def speed_of(progress: Progress | None) -> float:
    """Events per second; 0 if none was applied for a while."""
    if progress is None or timezone.now() - progress.moved_at > SPEED_HOLDS_FOR:
        return 0.0
    return progress.events_per_second


def read_statuses(
    names: Collection[str] = (), *, count_up_to: int = MOST_COUNTED
) -> dict[str, ProjectionStatus]:
    """The status of each projection by its name; of all of them if none is named.

    Three queries, and few reads of the event store, for all together. No more than `count_up_to`
    waiting events are counted.

    Raises:
        OperationalError, InterfaceError: the database is away.
    """
    statuses = _statuses_in_database(names or PROJECTIONS)
    try:
        lags = lags_at((each.position for each in statuses), count_up_to=count_up_to)
        lost = _lost({each.bookmark for each in statuses})
        statuses = [_with_lag(each, lags, lost) for each in statuses]
    except LagUnknown as unknown:
        if why := why_refused(unknown):
            statuses = [replace(each, why_unknown=why) for each in statuses]
    return {each.name: each for each in statuses}


def _statuses_in_database(names: Iterable[str]) -> list[ProjectionStatus]:
    checkpoints = {each.name: each for each in Checkpoint.objects.all()}
    rebuilds = {each.name: each for each in Rebuild.objects.all()}
    everything = Failure.objects.all()
    failures = {(each.name, each.in_rebuild): each for each in everything if not each.is_newer}
    waiting = {(each.name, each.in_rebuild): each for each in everything if each.is_newer}
    return [
        ProjectionStatus(
            name=name,
            code_version=PROJECTIONS[name].version,
            checkpoint=(checkpoint := checkpoints.get(name)),
            store_replaced=checkpoint is not None and checkpoint.store_replaced,
            rebuild=rebuilds.get(name),
            failure=failures.get((name, False)),
            waiting=waiting.get((name, False)),
            rebuild_failure=failures.get((name, True)) or waiting.get((name, True)),
        )
        for name in names
    ]


def _lost(at: Collection[Bookmark]) -> Collection[Bookmark]:
    """Those that were not set in this event store.

    Raises:
        LagUnknown: the event store did not answer in time.
    """
    return {each for each in at if _is_lost(each)}


def _is_lost(bookmark: Bookmark) -> bool:
    try:
        bookmarks.check(bookmark, event_store_client(), timeout=READ_SECONDS)
    except StoreReplaced:
        return True
    except EventStoreDBClientException as error:
        raise LagUnknown from error
    return False


def _with_lag(status: ProjectionStatus, lags: Lags, lost: Collection[Bookmark]) -> ProjectionStatus:
    # Also if only the projector has found it: it may be connected to another store.
    store_replaced = status.store_replaced or status.bookmark in lost
    return replace(
        status,
        store_position=lags.store_position,
        lag=None if store_replaced else lags.by_position[status.position],
        store_replaced=store_replaced,
    )
