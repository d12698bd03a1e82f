"""Runs projections in tests: in this thread, in other threads, and in other processes."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid4

from lepret.common.event_store_client import event_store_client
from loans.domain.events import LoanEvent, LoanRequested
from loans.domain.loan_request import Decision, Status
from readmodels.models import Checkpoint, LoanRequest, LoanStatus, PendingRequest, Rebuild
from readmodels.projections import PROJECTIONS, Projection
from readmodels.projections.rows import Rows
from readmodels.projector.coordination.coordinator import Coordinator, NoCoordinator
from readmodels.projector.feeds import CatchUpSubscription, EventSource, EventStoreSource, Feeds
from readmodels.projector.follower import Announcer, Follower
from readmodels.projector.rebuilding import Advance, Rebuilder, RebuildInterrupted
from readmodels.projector.received import ProjectedEvent
from readmodels.projector.tuning import DEFAULT, Tuning
from tests.support.event_store import EventStore, RunningEventStore
from tests.support.loans import ZOE, append_a_loan_of_each_kind, recorded_loans
from tests.support.processes import PATIENCE, PROJECT, wait_until
from tests.support.read_models import ReadModelsDatabase

# Followers and rebuilds poll and retry more often than in production.
QUICK: Final = Tuning(
    poll_seconds=0.05,
    stopped_poll_seconds=0.05,
    first_retry_seconds=0.01,
    longest_retry_seconds=0.05,
    linger_seconds=0.01,
)

QUEUE: Final = PROJECTIONS["underwriters_queue"]
STATUS: Final = PROJECTIONS["loan_status"]
LOANS: Final = PROJECTIONS["loan_requests"]
PARKED_CHECKS: Final = PROJECTIONS["parked_credit_checks"]
WORDS: Final = PROJECTIONS["search_words"]
POLICIES: Final = PROJECTIONS["lending_policies"]


def give(projection: Projection, *events: ProjectedEvent) -> None:
    """Change a projection's rows as one batch of these events does, but not its checkpoint."""
    rows: Rows[Any] = Rows(projection.model)
    for event in events:
        handle(projection, event, rows)
    rows.write()


def handle(projection: Projection, event: ProjectedEvent, rows: Rows[Any]) -> None:
    """Call a projection's handler with an event if it takes events of that type."""
    if type(event).__name__ in projection.takes:
        projection.handle(event, rows)


def count(event: LoanEvent, rows: Rows[LoanStatus]) -> None:
    """Handle events so that a loan's amount is the number of its events."""
    row = rows.get(event.id)
    if row is None:
        rows.add(event.id, amount=1, received_at=event.occurred_at)
    else:
        rows.change(event.id, amount=row.amount + 1)


def double(event: LoanEvent, rows: Rows[LoanStatus]) -> None:
    """Handle events so that a loan's amount is twice what was applied for."""
    handle(STATUS, event, rows)
    if isinstance(event, LoanRequested):
        rows.change(event.id, amount=2 * event.amount)


COUNTING: Final = replace(STATUS, handle=count)
DOUBLING: Final = replace(STATUS, handle=double, version=STATUS.version + 1)


@dataclass
class Announced:
    """An announcer that keeps what it is told to announce."""

    changes: list[dict[str, set[UUID]]] = field(default_factory=list)
    recorded_at: list[datetime | None] = field(default_factory=list)
    reached: list[tuple[str, int]] = field(default_factory=list)

    def send(
        self, changes: Mapping[str, Iterable[UUID]], *, recorded_at: datetime | None = None
    ) -> None:
        self.changes.append({group: set(ids) for group, ids in changes.items()})
        self.recorded_at.append(recorded_at)

    def send_reached(self, name: str, position: int) -> None:
        self.reached.append((name, position))


class CountingCoordinator(NoCoordinator):
    """Counts attempts to follow. A stopped projection makes them to ask whether it may go on."""

    def __init__(self) -> None:
        self.count = 0

    def wait_until_assigned(self, name: str, timeout: float) -> bool:
        self.count += 1
        return True


class CountingSource(EventStoreSource):
    """The event store. Counts subscriptions: a follower makes one in each attempt."""

    def __init__(self) -> None:
        super().__init__(event_store_client)
        self.count = 0

    def subscribe(self, after: int) -> CatchUpSubscription:
        self.count += 1
        return super().subscribe(after)


def new_feeds(source: EventSource | None = None, tuning: Tuning = QUICK) -> Feeds:
    """Feeds of the event store that the application uses, or of another source."""
    return Feeds(source or EventStoreSource(event_store_client), tuning)


def new_follower(
    projection: Projection,
    *,
    announcer: Announcer | None = None,
    source: EventSource | None = None,
    coordinator: Coordinator | None = None,
    stop: threading.Event | None = None,
    batch_size: int = DEFAULT.batch_size,
) -> Follower:
    """A follower with feeds of its own."""
    return Follower(
        projection,
        feeds=new_feeds(source),
        announcer=announcer or Announced(),
        coordinator=coordinator or NoCoordinator(),
        stop=stop or threading.Event(),
        tuning=replace(QUICK, batch_size=batch_size),
    )


def catch_up(*projections: Projection, **options: Any) -> None:
    """Apply what the store holds, in this thread; to all projections if none is named.

    Takes the options of `new_follower`.
    """
    for projection in projections or PROJECTIONS.values():
        new_follower(projection, **options).catch_up()


@contextmanager
def following(projection: Projection, **options: Any) -> Iterator[None]:
    """Run a follower in a thread while the block runs. Takes the options of `new_follower`."""
    stop = threading.Event()
    with running(new_follower(projection, stop=stop, **options).run, stop):
        yield


@contextmanager
def rebuilding_when_needed(projection: Projection) -> Iterator[None]:
    """Rebuild a projection of an older version in a thread, while the block runs."""
    stop = threading.Event()
    with running(new_rebuilder(projection, stop=stop).run_until_not_needed, stop):
        yield


@contextmanager
def running(run: Any, stop: threading.Event) -> Iterator[threading.Thread]:
    """Run in a thread; at the end of the block set `stop`, and wait until the thread has ended."""
    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield thread
    finally:
        stop.set()
        thread.join(PATIENCE)
        assert not thread.is_alive()


def new_rebuilder(
    projection: Projection,
    *,
    source: EventSource | None = None,
    stop: threading.Event | None = None,
    advanced: Callable[[Advance], object] = lambda advance: None,
    batch_size: int = DEFAULT.batch_size,
    to_older: bool = False,
) -> Rebuilder:
    """A rebuilder with feeds of its own."""
    return Rebuilder(
        projection,
        feeds=new_feeds(source),
        stop=stop or threading.Event(),
        advanced=advanced,
        to_older=to_older,
        tuning=replace(QUICK, batch_size=batch_size),
    )


def rebuild(*projections: Projection, batch_size: int = DEFAULT.batch_size) -> None:
    """Rebuild in this thread, until the rows are live; all projections if none is named."""
    for projection in projections or PROJECTIONS.values():
        new_rebuilder(projection, batch_size=batch_size).run()


def interrupted(projection: Projection, *, after: int = 5) -> int:
    """Interrupt a rebuild after its first events; returns its position."""
    stop = threading.Event()

    def stop_it(advance: Advance) -> None:
        stop.set()

    rebuilder = new_rebuilder(projection, stop=stop, advanced=stop_it, batch_size=after)
    with suppress(RebuildInterrupted):
        rebuilder.run()
    position: int = Rebuild.objects.get(name=projection.name).position
    return position


def position_of(projection: Projection) -> int:
    """The commit position of the live rows; 0 if there are none."""
    checkpoint = Checkpoint.objects.filter(name=projection.name).first()
    return checkpoint.position if checkpoint else 0


def wait_for(projection: Projection, position: int) -> None:
    """Wait until the projection has reached a commit position."""
    wait_until(
        lambda: position_of(projection) >= position,
        what=f"{projection.name} is at {position}",
        every=0.01,
    )


def rows(*projections: Projection) -> list[dict[str, Any]]:
    """All rows of these projections' tables; of all projections if none is named."""
    models = [each.model for each in projections or PROJECTIONS.values()]
    return [row for model in models for row in model._default_manager.order_by("pk").values()]


def are_caught_up(output: str) -> bool:
    """Whether the output of projectors says of each projection that it is caught up."""
    return all(f"{name} is caught up at" in output for name in PROJECTIONS)


def failing(
    projection: Projection, on: type[LoanEvent], fails: Callable[[], bool] = lambda: True
) -> Projection:
    """The projection with a handler that fails on a type of event while `fails()` is true.

    The error quotes an applicant.
    """

    def fail(event: LoanEvent, rows: Rows[Any]) -> None:
        handle(projection, event, rows)
        if isinstance(event, on) and fails():
            raise ValueError(f"{event!r} of {ZOE.name}, {ZOE.national_id}, {ZOE.address}")

    return replace(projection, handle=fail)


def assert_read_models_tell_what_the_events_say() -> None:
    """Every row is what the events of its loan say, and there are no other rows."""
    loans = recorded_loans()
    assert {
        each.id: (each.status, each.credit_score, each.awaiting or None, *_said(each))
        for each in LoanStatus.objects.all()
    } == {
        id_: (loan.status, loan.credit_score, loan.awaiting, *_decided(loan.decision))
        for id_, loan in loans.items()
    }
    assert {
        each.id: [vote["by"] for vote in each.votes] for each in PendingRequest.objects.all()
    } == {
        id_: [vote.by for vote in loan.votes]
        for id_, loan in loans.items()
        if loan.status is Status.UNDER_REVIEW
    }
    assert {
        each.id: (each.status, each.credit_score, tuple(each.factors), each.deciders, *_said(each))
        for each in LoanRequest.objects.all()
    } == {
        id_: (
            loan.status,
            loan.credit_score,
            loan.factors,
            [*loan.decision.people] if loan.decision else [],
            *_decided(loan.decision),
        )
        for id_, loan in loans.items()
    }


def _said(row: LoanStatus | LoanRequest) -> tuple[Any, ...]:
    policy = row.policy if row.decided_at else None
    return row.people, tuple(row.reasons), row.reason_text, policy


def _decided(decision: Decision | None) -> tuple[Any, ...]:
    if decision is None:
        return 0, (), "", None
    return len(decision.people), decision.reasons, decision.reason_text, decision.policy


@contextmanager
def appending_loans(*, every: float = 0.0) -> Iterator[None]:
    """Append loans of each kind while the block runs, `every` so many seconds."""
    stop = threading.Event()
    problems: list[Exception] = []

    def append() -> None:
        try:
            while not stop.wait(every):
                append_a_loan_of_each_kind()
        except Exception as problem:  # noqa: BLE001 (raised below)
            problems.append(problem)

    with running(append, stop):
        yield
    if problems:
        raise problems[0]


@dataclass(frozen=True)
class ManagementCommand:
    """A management command that was started in a process of its own, and may have ended."""

    process: subprocess.Popen[bytes]
    output_file: Path

    @property
    def output(self) -> str:
        return self.output_file.read_text()

    def is_caught_up(self) -> bool:
        return are_caught_up(self.output)


@contextmanager
def manage_py(
    event_store: RunningEventStore, read_models: ReadModelsDatabase, *arguments: str
) -> Iterator[ManagementCommand]:
    """Run a real `manage.py` with these arguments; send it SIGTERM at the end of the block."""
    output_file = event_store.folder.with_name(f"{arguments[0]}-{uuid4()}.log")
    with output_file.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "manage.py", *arguments],
            cwd=PROJECT,
            env=environment(event_store, read_models),
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield ManagementCommand(process, output_file)
    finally:
        process.terminate()
        process.wait(PATIENCE)


def environment(event_store: EventStore, read_models: ReadModelsDatabase) -> dict[str, str]:
    """The environment in which a process finds the servers of a test."""
    return {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "lepret.settings",
        "EVENTSTORE_URI": event_store.uri,
        "READMODELS_DATABASE_URL": read_models.url,
        "REDIS_URL": "redis://127.0.0.1:1/0",  # Nothing listens there.
        # All tests call from one address.
        "API_ANONYMOUS_RATE": "none",
        "APPLICATIONS_PER_ADDRESS": "none",
        "APPLICATIONS_PER_NATIONAL_ID": "none",
    }
