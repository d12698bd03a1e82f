"""Projectors and rebuilds that are killed at random moments, while events keep coming in."""

from __future__ import annotations

import random
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import pytest
from django.db import connections
from pytest_django import Settings

from lepret.common.event_store_client import event_store_client
from loans.adapters.codec import loan_request_stream
from loans.dependencies import event_store
from loans.domain.events import (
    AutoApproved,
    CreditChecked,
    LoanEvent,
    LoanRequested,
    ManuallyApproved,
    ManuallyDenied,
    ManualReviewRequired,
)
from readmodels.live import broadcasts
from readmodels.models import Rebuild
from readmodels.projections import PROJECTIONS
from tests.support.announcements import Change, Told, changes_of, changes_rows, must_be_told
from tests.support.broadcast_listener import Listener, listening
from tests.support.caught_up import (
    assert_each_event_was_committed_once,
    assert_nothing_is_left_over,
    positions,
    wait_until_level,
)
from tests.support.commits import Commit, commits, keep_a_list_of_commits
from tests.support.event_store import RunningEventStore
from tests.support.fork_server import Forked, ForkServer
from tests.support.loans import AT, append_a_loan_of_each_kind
from tests.support.management_commands import forks_for
from tests.support.postgresql import RunningPostgreSQL
from tests.support.processes import PATIENCE, wait_until
from tests.support.projectors import (
    are_caught_up,
    assert_read_models_tell_what_the_events_say,
    catch_up,
    rows,
)
from tests.support.read_models import ReadModelsDatabase, read_models_at
from tests.support.traffic import traffic
from tests.support.valkey import RunningValkey

pytestmark = [pytest.mark.usefixtures("event_store", "read_models"), pytest.mark.flaky(reruns=0)]

FreshRows = Callable[[], list[dict[str, Any]]]

KILLS: Final = 34
KILLS_OF_REBUILDS: Final = 10
# A quick machine is done with many before they are killed: then more are.
BROKEN_OFF: Final = 4
MOST_KILLS_OF_REBUILDS: Final = 60

# Projections are taken over at once, so that most kills hit a projector that runs some. The limit
# on late announcements, and a lease that may end on a busy machine, are not what is tested here.
TUNING: Final = {"most_late_changes": 1_000_000, "look_seconds": 0.1, "lease_seconds": 30.0}


@pytest.fixture
def forks(
    event_store: RunningEventStore,
    read_models: ReadModelsDatabase,
    shared_valkey: RunningValkey,
    tmp_path: Path,
) -> Iterator[ForkServer]:
    """A server that starts commands, which use the servers of this test."""
    with forks_for(event_store, read_models, shared_valkey.url, tmp_path) as forks:
        yield forks


@pytest.fixture
def listener(shared_valkey: RunningValkey) -> Iterator[Listener]:
    with listening(shared_valkey.url) as listener:
        yield listener


@dataclass(frozen=True)
class Kill:
    """Whether a projection was behind at a kill, and whether any had moved since the last kill."""

    was_behind: bool
    had_moved: bool


class Projectors:
    """Projectors that run at the same time, and those that ran before."""

    def __init__(self, forks: ForkServer) -> None:
        self.all: dict[str, Forked] = {}
        self.history_ends_at = 0
        """Up to this position it is the first build, of which nothing is announced."""
        self._forks = forks
        self._running: list[Forked] = []

    def start(self) -> None:
        """Start one more."""
        name = f"projector-{len(self.all)}"
        projector = self._forks.start(
            "project", name=name, has_own_groups=True, settings={"PROJECTOR_TUNING": TUNING}
        )
        self.all[name] = projector
        self._running.append(projector)

    def kill_one(self) -> None:
        """Kill any of those that run, and start another in its place."""
        self._running.pop(random.randrange(len(self._running))).kill()
        self.start()

    def stop(self) -> None:
        """Stop those that run with SIGTERM."""
        while self._running:
            assert self._running.pop().stop() == 0

    def have_caught_up(self) -> bool:
        """Whether those that run have caught up with each projection."""
        output = "".join(each.output for each in self._running)
        return all(f"{name} is caught up at" in output for name in PROJECTIONS)

    @property
    def output(self) -> str:
        return "".join(each.output for each in self.all.values())


class TestProjectorsThatAreKilled:
    @pytest.mark.parametrize(
        ("read_models", "at_once"),
        [("sqlite", 1), ("sqlite", 2), ("postgresql", 2)],
        indirect=["read_models"],
    )
    def test_lose_nothing_apply_nothing_twice_and_announce_all_but_the_last_commits(
        self,
        forks: ForkServer,
        listener: Listener,
        read_models: ReadModelsDatabase,
        fresh_rows: FreshRows,
        at_once: int,
    ) -> None:
        """Rows and checkpoints are right, whatever is killed, and when.

        Each commit is announced at most once. It is not announced only if its projector was killed
        before it had caught up, or before it had announced the position that the commit reached.
        Open pages see such commits when they next read by themselves.
        """
        projectors = running_on_a_little_history(forks, read_models)
        for _ in range(at_once - 1):
            projectors.start()
        with traffic(threads=3) as coming_in:
            kills = kill_at_random(projectors)
            # Those that run now are not killed any more: once they have caught up, what they commit
            # must be announced.
            wait_until(projectors.have_caught_up)
            before = coming_in.requests
            wait_until(lambda: coming_in.requests >= before + 100)
        wait_until_level()
        projectors.stop()

        assert_it_was_at_work(kills)
        assert "cannot handle" not in projectors.output
        assert_nothing_is_left_over(read_models.alias)
        assert rows() == fresh_rows()
        assert_read_models_tell_what_the_events_say()
        made = commits(read_models.alias)
        assert_each_event_was_committed_once(made)
        changes = changes_since(projectors.history_ends_at, made)
        assert_what_was_told_is_what_is_promised(changes, projectors.all, Told(listener.all()))


class TestAProjectorThatIsNotKilled:
    def test_tells_of_each_event_that_changes_a_row_once(
        self, forks: ForkServer, listener: Listener, read_models: ReadModelsDatabase
    ) -> None:
        projectors = running_on_a_little_history(forks, read_models)
        expected: Counter[tuple[str, str]] = Counter()
        for event in events_of_a_few_loans():
            # One at a time, since those of one batch are announced together.
            append_one(event)
            wait_until_level()
            expected.update((group, str(event.id)) for group in groups_that_hear_of(event))
            wait_until(lambda: told_counts(listener) == expected, every=0.01)
        projectors.stop()

        assert told_counts(listener) == expected
        # In the queue, on the pages of applicants, and on those of underwriters.
        as_events_changed_the_row = [2, 2, *(3, 3, 4), *(3, 3, 4)]
        assert sorted(expected.values()) == sorted(as_events_changed_the_row)

    def test_tells_of_every_change_under_load(
        self, forks: ForkServer, listener: Listener, read_models: ReadModelsDatabase
    ) -> None:
        projectors = running_on_a_little_history(forks, read_models)
        with traffic() as coming_in:
            wait_until(lambda: coming_in.requests >= 500)
        wait_until_level()
        projectors.stop()

        told = Told(listener.all())
        changes = changes_since(projectors.history_ends_at, commits(read_models.alias))
        assert told.counts.keys() == {each.told_by for each in changes}
        assert_no_commit_is_told_twice(changes, told)


class TestARebuildThatIsKilled:
    def test_goes_on_where_it_was_and_ends_right(
        self, forks: ForkServer, read_models: ReadModelsDatabase, fresh_rows: FreshRows
    ) -> None:
        projectors = Projectors(forks)
        projectors.start()
        with traffic() as coming_in:
            wait_until(lambda: coming_in.requests >= 700, 2 * PATIENCE)
            broken_off = kill_rebuilds_at_random(forks, read_models)
            last = forks.start("rebuild")
            assert last.wait() == 0, last.output
        wait_until_level()
        projectors.stop()

        assert len(broken_off) >= BROKEN_OFF, "they were in the middle of it"
        assert_each_went_on_where_it_was(broken_off)
        assert_nothing_is_left_over(read_models.alias)
        assert rows() == fresh_rows()
        assert_read_models_tell_what_the_events_say()


@pytest.fixture
def fresh_rows(
    read_models: ReadModelsDatabase,
    settings: Settings,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> FreshRows:
    """Builds the rows once more, in an empty database and without interruption."""

    def build() -> list[dict[str, Any]]:
        if connections[read_models.alias].vendor == "sqlite":
            url = f"sqlite:///{tmp_path}/fresh.sqlite3"
        else:
            postgresql: RunningPostgreSQL = request.getfixturevalue("postgresql")
            url = postgresql.new_database()
        with read_models_at(url, settings):
            catch_up()
            built = rows()
        settings.READMODELS_DATABASE = read_models.alias
        return built

    return build


def running_on_a_little_history(forks: ForkServer, read_models: ReadModelsDatabase) -> Projectors:
    """One projector that has caught up, so that new events are not part of the first build."""
    append_a_loan_of_each_kind()
    keep_a_list_of_commits(read_models.alias)
    projectors = Projectors(forks)
    projectors.start()
    wait_until(lambda: are_caught_up(projectors.output))
    wait_until_level()
    projectors.history_ends_at = event_store_client().get_commit_position()
    return projectors


def changes_since(position: int, made: Sequence[Commit]) -> list[Change]:
    """What is to be announced of commits after a position."""
    return list(changes_of([each for each in made if each.after >= position]))


def kill_at_random(projectors: Projectors) -> list[Kill]:
    """Kill projectors at random moments, and start another each time."""
    kills: list[Kill] = []
    before = positions()
    for _ in range(KILLS):
        # Mostly while it works, now and then also while it starts.
        if random.random() < 0.8:
            wait_until(partial(have_moved, before), every=0.01)
        time.sleep(random.uniform(0, 0.3))
        end = event_store_client().get_commit_position()
        now = positions()
        projectors.kill_one()
        kills.append(Kill(min(now.values()) < end, now != before))
        before = now
    return kills


def have_moved(before: Mapping[str, int]) -> bool:
    return positions() != before


def kill_rebuilds_at_random(forks: ForkServer, read_models: ReadModelsDatabase) -> list[Rebuild]:
    """Kill rebuilds at random moments; returns the progress of those that were not done then."""
    broken_off: list[Rebuild] = []
    for number in range(MOST_KILLS_OF_REBUILDS):
        if number >= KILLS_OF_REBUILDS and len(broken_off) >= BROKEN_OFF:
            break
        before = rebuilds()
        rebuild = forks.start("rebuild", random.choice(list(PROJECTIONS)))
        # Mostly while it builds, now and then also while it starts.
        if random.random() < 0.8:
            has_begun = partial(has_built_or_ended, rebuild, before)
            wait_until(has_begun, every=0.01)
        time.sleep(random.uniform(0, 0.3))
        rebuild.kill()
        wait_until_nobody_rebuilds(read_models)
        broken_off += Rebuild.objects.filter(position__gt=0)
    return broken_off


def rebuilds() -> dict[str, int]:
    return dict(Rebuild.objects.values_list("name", "position"))


def has_built_or_ended(rebuild: Forked, before: Mapping[str, int]) -> bool:
    return rebuilds() != before or rebuild.status is not None


def wait_until_nobody_rebuilds(read_models: ReadModelsDatabase) -> None:
    """Wait until PostgreSQL has noticed that a rebuild was killed."""
    connection = connections[read_models.alias]
    if connection.vendor == "sqlite":
        return

    def nobody_rebuilds() -> bool:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT 1 FROM pg_stat_activity WHERE application_name LIKE 'lepret rebuild%%' "
                "AND datname = current_database()"
            )
            return cursor.fetchone() is None

    wait_until(nobody_rebuilds, every=0.01)


def events_of_a_few_loans() -> list[LoanEvent]:
    """Of three loans: approved by the score, approved by an underwriter, denied by one."""
    first, second, third = ({"id": uuid4(), "occurred_at": AT} for _ in range(3))
    about: dict[str, Any] = {"name": "Ann", "national_id": "111111aa", "amount": 5000}
    return [
        LoanRequested(**first, **about),
        LoanRequested(**second, **about),
        CreditChecked(**first, credit_score=9),
        CreditChecked(**second, credit_score=5),
        ManualReviewRequired(**second, **about, credit_score=5, requested_at=AT),
        LoanRequested(**third, **about),
        AutoApproved(**first),
        ManuallyApproved(**second, decided_by="uma"),
        ManualReviewRequired(**third, **about, credit_score=6, requested_at=AT),
        ManuallyDenied(**third, decided_by="uma", reasons=("other",)),
    ]


def append_one(event: LoanEvent) -> None:
    """Append an event to the end of its loan's stream."""
    stream = loan_request_stream(event.id)
    event_store().append(
        stream,
        [event],
        revision=event_store().load(stream).revision,
        command_id=uuid4(),
        user="applicant",
    )


def groups_that_hear_of(event: LoanEvent) -> list[str]:
    """The groups of the projections whose rows an event changes."""
    return [
        projection.group(event.id)
        for projection in PROJECTIONS.values()
        if projection.group is not None and changes_rows(projection, event)
    ]


def told_counts(listener: Listener) -> Counter[tuple[str, str]]:
    """How often each group was told of each loan request."""
    counts: Counter[tuple[str, str]] = Counter()
    for (_, group, id_), count in Told(listener.all()).counts.items():
        counts[group, str(id_)] += count
    return counts


def assert_it_was_at_work(kills: Sequence[Kill]) -> None:
    assert len(kills) == KILLS
    assert sum(each.was_behind for each in kills) >= KILLS / 2
    assert sum(each.had_moved for each in kills) >= KILLS / 2


def assert_what_was_told_is_what_is_promised(
    changes: Sequence[Change], projectors: Mapping[str, Forked], told: Told
) -> None:
    must_be = {
        each: must_be_told(each, projectors[each.process], told)
        for each in {change.commit for change in changes}
    }
    untold = [each for each in changes if must_be[each.commit] and not told.counts[each.told_by]]
    assert untold == []
    assert_no_commit_is_told_twice(changes, told)
    assert sum(must_be[each.commit] for each in changes) > 50, "or else nothing was tested"


def assert_each_went_on_where_it_was(broken_off: Sequence[Rebuild]) -> None:
    """No rebuild was ever at an earlier position than before."""
    by_build: Mapping[tuple[str, int], list[int]] = defaultdict(list)
    for each in broken_off:
        by_build[each.name, each.build].append(each.position)
    assert all(positions == sorted(positions) for positions in by_build.values())


def assert_no_commit_is_told_twice(changes: Sequence[Change], told: Told) -> None:
    most = Counter(each.told_by for each in changes)
    too_often = {each: count for each, count in told.counts.items() if count > most[each]}
    assert too_often == {}
    in_queue: Counter[Any] = Counter()
    for (_, group, id_), count in told.counts.items():
        if group == broadcasts.UNDERWRITING:
            in_queue[id_] += count
    assert max(in_queue.values()) <= 2, "came, and left"
