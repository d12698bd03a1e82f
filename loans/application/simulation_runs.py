"""Simulations that a page has begun: what each was asked, how far it is, and what came of it.

They are kept in the cache for a day, since they can be run again at any time. One runs at once, for
all web servers together: its process says again and again that it is alive, and one that does not
for `SILENT_SECONDS` is dead.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime
from typing import Final, TypeVar
from uuid import UUID

from django.core.cache import cache
from pydantic import BaseModel
from redis.exceptions import RedisError

from lepret.common.turns import waiting_elsewhere
from loans.application.policy_simulations import Report
from loans.domain.policy import Policy

KEPT_SECONDS: Final = 24 * 3600
SILENT_SECONDS: Final = 15
# A busy machine takes its time to start a process.
STARTS_WITHIN_SECONDS: Final = 60
MOST_LISTED: Final = 10

_ALIVE: Final = "policy-simulation:alive"
_NEWEST: Final = "policy-simulation:newest"

T = TypeVar("T")


class RunsUnavailable(Exception):
    """The cache, which keeps the simulations, does not answer."""


class AnotherRuns(Exception):
    """A simulation runs already; `run_id` is `None` if it has ended meanwhile."""

    def __init__(self, run_id: UUID | None) -> None:
        super().__init__("A simulation runs already.")
        self.run_id = run_id


class Run(BaseModel):
    """A simulation of `policy`, which `what` names, begun by the user `by`.

    It is over once it has a `report`, or a `problem`.
    """

    id: UUID
    by: str
    began_at: datetime
    what: str
    policy: Policy
    first: date | None = None
    last: date | None = None
    report: Report | None = None
    problem: str = ""

    @property
    def is_over(self) -> bool:
        """Whether nothing more will come."""
        return self.report is not None or bool(self.problem)


class Seen(BaseModel):
    """A simulation as it is now. `percent` is how much of the log it has read."""

    run: Run
    is_alive: bool
    percent: int

    @property
    def is_running(self) -> bool:
        """Whether more will come. One that is neither over nor alive has ended without a word."""
        return self.is_alive and not self.run.is_over


def begin(run: Run) -> None:
    """Keep a simulation whose process is about to be started.

    Raises:
        AnotherRuns: nothing was kept.
        RunsUnavailable: the cache does not answer.
    """
    if not _ask(lambda: cache.add(_ALIVE, str(run.id), STARTS_WITHIN_SECONDS)):
        running = _ask(lambda: cache.get(_ALIVE))
        raise AnotherRuns(UUID(running) if running else None)
    _keep(run)
    # Only who may begin writes this list, so that no two do at once.
    newest = [str(run.id), *_ask(lambda: cache.get(_NEWEST, []))][:MOST_LISTED]
    _ask(lambda: cache.set(_NEWEST, newest, KEPT_SECONDS))


def look(run_id: UUID) -> Seen | None:
    """A simulation as it is now; `None` if there is none, or no longer.

    Raises:
        RunsUnavailable: the cache does not answer.
    """
    # At the same instant: a simulation that ends in between would seem to be dead.
    found = _ask(lambda: cache.get_many([_ALIVE, _key(run_id), _percent_key(run_id)]))
    if _key(run_id) not in found:
        return None
    return Seen(
        run=Run.model_validate_json(found[_key(run_id)]),
        is_alive=found.get(_ALIVE) == str(run_id),
        percent=found.get(_percent_key(run_id), 0),
    )


def newest() -> list[Seen]:
    """The simulations that were begun last, the newest first; raises as `look`."""
    ids = _ask(lambda: cache.get(_NEWEST, []))
    return [seen for each in ids if (seen := look(UUID(each))) is not None]


def beat(run_id: UUID, percent: int) -> bool:
    """Say that a simulation is alive; false if another one runs instead. Raises as `look`."""
    if _ask(lambda: cache.get(_ALIVE)) not in (None, str(run_id)):
        return False
    _ask(lambda: cache.set(_ALIVE, str(run_id), SILENT_SECONDS))
    _ask(lambda: cache.set(_percent_key(run_id), percent, KEPT_SECONDS))
    return True


def end(run: Run) -> None:
    """Keep what came of a simulation, and let the next one begin; raises as `look`."""
    _keep(run)
    if _ask(lambda: cache.get(_ALIVE)) == str(run.id):
        _ask(lambda: cache.delete(_ALIVE))


def _keep(run: Run) -> None:
    _ask(lambda: cache.set(_key(run.id), run.model_dump_json(), KEPT_SECONDS))


def _key(run_id: UUID) -> str:
    return f"policy-simulation:{run_id}"


def _percent_key(run_id: UUID) -> str:
    return f"{_key(run_id)}:percent"


def _ask(question: Callable[[], T]) -> T:
    try:
        with waiting_elsewhere():
            return question()
    except RedisError as error:
        raise RunsUnavailable from error
