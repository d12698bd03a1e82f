"""Projections at work in tests: in this thread, in threads, and in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid4

import pytest

from lepret.common.backoff import Backoff
from lepret.common.event_store_client import event_store_client
from loans.domain.events import LoanEvent, LoanRequested
from loans.domain.loan_request import Status
from readmodels.models import Checkpoint, LoanRequest, LoanStatus, PendingRequest
from readmodels.projections import PROJECTIONS, Projection
from readmodels.projections.rows import Rows
from readmodels.projector import feeds, rebuilding
from readmodels.projector import follower as projector
from readmodels.projector.coordination.coordinator import Coordination, Uncoordinated
from readmodels.projector.feeds import EventSource, EventStoreSource, Feeds, Subscription
from readmodels.projector.follower import Announcer, Follower
from readmodels.projector.rebuilding import Rebuilder
from tests.support.event_store import RunningEventStore
from tests.support.loans import ZOE, append_a_loan_of_each_kind, recorded_loans
from tests.support.processes import PROJECT, wait_until
from tests.support.read_models import ReadModelsDatabase

SECONDS: Final = 20.0

QUEUE: Final = PROJECTIONS["underwriters_queue"]
STATUS: Final = PROJECTIONS["loan_status"]
LOANS: Final = PROJECTIONS["loan_requests"]
PARKED_CHECKS: Final = PROJECTIONS["parked_credit_checks"]


def give(projection: Projection, *events: LoanEvent) -> None:
    """Change a projection's rows as these events do, as one batch; its checkpoint stays."""
    rows: Rows[Any] = Rows(projection.model)
    for event in events:
        handle(projection, event, rows)
    rows.write()


def handle(projection: Projection, event: LoanEvent, rows: Rows[Any]) -> None:
    """Hand an event to a projection's handler if it is of a type that the handler takes."""
    if type(event).__name__ in projection.takes:
        projection.handle(event, rows)


def count(event: LoanEvent, rows: Rows[LoanStatus]) -> None:
    """How many events there were of each loan, as its amount."""
    row = rows.get(event.id)
    if row is None:
        rows.add(event.id, amount=1, received_at=event.occurred_at)
    else:
        rows.change(event.id, amount=row.amount + 1)


def double(event: LoanEvent, rows: Rows[LoanStatus]) -> None:
    handle(STATUS, event, rows)
    if isinstance(event, LoanRequested):
        rows.change(event.id, amount=2 * event.amount)


COUNTING: Final = replace(STATUS, handle=count)
DOUBLING: Final = replace(STATUS, handle=double, version=STATUS.version + 1)


@dataclass
class Announced:
    """Hears of each commit, and keeps what it is told."""

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


def act_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have followers and rebuilds look more often than it would be worth while in earnest."""
    for module in (projector, rebuilding):
        monkeypatch.setattr(module, "POLL_SECONDS", 0.05)
        monkeypatch.setattr(module, "STOPPED_POLL_SECONDS", 0.05)
        monkeypatch.setattr(module, "Backoff", partial(Backoff, first=0.01, longest=0.05))
    monkeypatch.setattr(feeds, "LINGER_SECONDS", 0.01)


class CountingShift(Uncoordinated):
    """Counts how often a follower begins; one that is stopped does so only to look."""

    def __init__(self) -> None:
        self.count = 0

    def wait_until_mine(self, name: str, timeout: float) -> bool:
        self.count += 1
        return True


class CountingSource(EventStoreSource):
    """The event store, which counts subscriptions: a follower has a new one for each attempt."""

    def __init__(self) -> None:
        super().__init__(event_store_client)
        self.count = 0

    def subscribe(self, after: int) -> Subscription:
        self.count += 1
        return super().subscribe(after)


def new_feeds() -> Feeds:
    """Feeds of the event store that the application uses."""
    return Feeds(EventStoreSource(event_store_client))


def catch_up(
    *projections: Projection,
    announcer: Announcer | None = None,
    source: EventSource | None = None,
) -> None:
    """Apply what the store holds, in this thread; to all projections if none is named."""
    for projection in projections or PROJECTIONS.values():
        Follower(
            projection,
            feeds=Feeds(source or EventStoreSource(event_store_client)),
            announcer=announcer or Announced(),
            shift=Uncoordinated(),
            stop=threading.Event(),
        ).catch_up()


@contextmanager
def following(
    projection: Projection,
    *,
    announcer: Announcer | None = None,
    source: EventSource | None = None,
    shift: Coordination | None = None,
    batch_size: int = projector.BATCH_SIZE,
) -> Iterator[None]:
    """A follower in a thread of its own, until this is left."""
    stop = threading.Event()
    follower = Follower(
        projection,
        feeds=Feeds(source or EventStoreSource(event_store_client)),
        announcer=announcer or Announced(),
        shift=shift or Uncoordinated(),
        stop=stop,
        batch_size=batch_size,
    )
    with running(follower.run, stop):
        yield


@contextmanager
def rebuilding_when_needed(projection: Projection, *, batch_size: int = 500) -> Iterator[None]:
    """What keeps a projection's rows of its version, in a thread of its own, until this is left."""
    stop = threading.Event()
    rebuilder = new_rebuilder(projection, stop=stop, batch_size=batch_size)
    with running(rebuilder.run_until_not_needed, stop):
        yield


@contextmanager
def running(run: Any, stop: threading.Event) -> Iterator[threading.Thread]:
    """Run in a thread; on the way out set `stop`, and see it end."""
    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield thread
    finally:
        stop.set()
        thread.join(SECONDS)
        assert not thread.is_alive()


def new_rebuilder(
    projection: Projection,
    *,
    stop: threading.Event | None = None,
    batch_size: int = projector.BATCH_SIZE,
) -> Rebuilder:
    """A rebuilder with feeds of its own."""
    return Rebuilder(
        projection, feeds=new_feeds(), stop=stop or threading.Event(), batch_size=batch_size
    )


def rebuild(*projections: Projection, batch_size: int = projector.BATCH_SIZE) -> None:
    """Build anew, in this thread, until it is live; all projections if none is named."""
    for projection in projections or PROJECTIONS.values():
        new_rebuilder(projection, batch_size=batch_size).run()


def position_of(projection: Projection) -> int:
    """How far the live rows have come; 0 where there are none."""
    checkpoint = Checkpoint.objects.filter(name=projection.name).first()
    return checkpoint.position if checkpoint else 0


def wait_for(projection: Projection, position: int) -> None:
    """Until the projection has come that far."""
    wait_until(
        lambda: position_of(projection) >= position,
        SECONDS,
        what=f"{projection.name} is at {position}",
        every=0.01,
    )


def rows(*projections: Projection) -> list[dict[str, Any]]:
    """All that is in a projection's table; in those of all projections if none is named."""
    models = [each.model for each in projections or PROJECTIONS.values()]
    return [row for model in models for row in model._default_manager.order_by("pk").values()]


def failing(projection: Projection, on: type[LoanEvent], times: int = 1_000_000) -> Projection:
    """The projection with a handler that fails on one type of event, and tells all it knows."""
    failures = iter(range(times))

    def fail(event: LoanEvent, rows: Rows[Any]) -> None:
        handle(projection, event, rows)
        if isinstance(event, on) and next(failures, None) is not None:
            raise ValueError(f"{event!r} of {ZOE.name}, {ZOE.national_id}, {ZOE.address}")

    return replace(projection, handle=fail)


def assert_read_models_tell_what_the_events_say() -> None:
    """Every row is as the events of its loan say, and there are no others."""
    loans = recorded_loans()
    assert {each.id: each.status for each in LoanStatus.objects.all()} == {
        id_: loan.status for id_, loan in loans.items()
    }
    assert {each.id for each in PendingRequest.objects.all()} == {
        id_ for id_, loan in loans.items() if loan.status is Status.UNDER_REVIEW
    }
    assert {
        each.id: (each.status, each.credit_score, each.decided_by)
        for each in LoanRequest.objects.all()
    } == {
        id_: (
            loan.status,
            loan.credit_score,
            (loan.decision and loan.decision.decided_by) or "",
        )
        for id_, loan in loans.items()
    }


@contextmanager
def appending_loans(*, every: float = 0.0) -> Iterator[None]:
    """Loans of each kind, one after the other, with so many seconds between, while this lasts."""
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
class Managing:
    """A management command that was started as a process of its own, and may have ended."""

    process: subprocess.Popen[bytes]
    output_file: Path

    @property
    def output(self) -> str:
        return self.output_file.read_text()

    def is_caught_up(self) -> bool:
        """Whether it said so of each projection."""
        return all(f"{name} is caught up at" in self.output for name in PROJECTIONS)


@contextmanager
def managing(
    event_store: RunningEventStore, read_models: ReadModelsDatabase, *arguments: str
) -> Iterator[Managing]:
    """A real `manage.py` with these arguments, which is ended with SIGTERM when this is left."""
    output_file = event_store.data.with_name(f"{arguments[0]}-{uuid4()}.log")
    with output_file.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "manage.py", *arguments],
            cwd=PROJECT,
            env=environment(event_store, read_models),
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield Managing(process, output_file)
    finally:
        process.terminate()
        process.wait(SECONDS)


def environment(event_store: RunningEventStore, read_models: ReadModelsDatabase) -> dict[str, str]:
    """What a process needs to find the servers of a test."""
    variables = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "lepret.settings",
        "EVENTSTORE_URI": event_store.uri,
        "READMODELS_DATABASE_URL": read_models.url,
        "REDIS_URL": "redis://127.0.0.1:1/0",  # Nobody answers there: pages would update late.
        # Many processes import the same modules: they are compiled once.
        "PYTHONPYCACHEPREFIX": str(Path(tempfile.gettempdir()) / "lepret-tests-compiled"),
    }
    variables.pop("PYTHONDONTWRITEBYTECODE", None)
    return variables
