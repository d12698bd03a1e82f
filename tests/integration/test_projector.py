"""The projector on SQLite and on PostgreSQL, against the real embedded event store."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.core.management import CommandError, call_command
from django.db import connections
from django.db.models import F
from esdbclient import EventStoreDBClient
from esdbclient.common import AbstractCatchupSubscription

from lepret.event_store_client import event_store_client
from loans.domain.events import AutoDenied, LoanEvent, LoanRequested
from loans.domain.loan_request import Status
from readmodels import broadcasts, projector
from readmodels.batches import Changes, EventNotHandled, apply_batch, read_checkpoint
from readmodels.models import Checkpoint, LoanRequest, LoanStatus, PendingRequest
from readmodels.projections import PROJECTIONS, Projection
from readmodels.projector import Announce, Follower
from tests.support.event_store import RunningEventStore
from tests.support.loans import (
    ZOE,
    append_a_loan_of_each_kind,
    append_event,
    append_requested_loan,
    recorded_loans,
)
from tests.support.processes import wait_until
from tests.support.read_models import ReadModelsDatabase

pytestmark = pytest.mark.usefixtures("event_store", "read_models")

PROJECT = Path(__file__).resolve().parents[2]
SECONDS = 20.0

QUEUE = PROJECTIONS["underwriters_queue"]
STATUS = PROJECTIONS["loan_status"]
LOANS = PROJECTIONS["loan_requests"]

Connect = Callable[[], EventStoreDBClient]


@pytest.fixture(autouse=True)
def _stops_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(projector, "POLL_SECONDS", 0.05)


@dataclass
class Announced:
    """Keeps what it is told of."""

    changes: list[Changes] = field(default_factory=list)

    def __call__(self, changes: Changes) -> None:
        self.changes.append(changes)


def tell_nobody(changes: Changes) -> None:
    pass


def catch_up(
    *projections: Projection,
    announce: Announce = tell_nobody,
    connect: Connect = event_store_client,
) -> None:
    """Apply what the store holds, in this thread; to all projections if none is named."""
    for projection in projections or PROJECTIONS.values():
        Follower(projection, connect=connect, announce=announce, stop=threading.Event()).catch_up()


@contextmanager
def following(
    projection: Projection, *, announce: Announce = tell_nobody, batch_size: int = 500
) -> Iterator[None]:
    """A follower in a thread of its own, until this is left."""
    stop = threading.Event()
    follower = Follower(
        projection,
        connect=event_store_client,
        announce=announce,
        stop=stop,
        batch_size=batch_size,
    )
    thread = threading.Thread(target=follower.run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(SECONDS)
        assert not thread.is_alive()


def wait_for(projection: Projection, position: int) -> None:
    """Until the projection has come that far."""
    wait_until(
        lambda: read_checkpoint(projection) >= position,
        SECONDS,
        what=f"{projection.name} is at {position}",
        every=0.01,
    )


def rows(*projections: Projection) -> list[dict[str, Any]]:
    """All that is in a projection's tables; in those of all projections if none is named."""
    models = [model for each in projections or PROJECTIONS.values() for model in each.models]
    return [row for model in models for row in model._default_manager.order_by("pk").values()]


def checkpoints() -> list[tuple[str, int, datetime | None]]:
    """Each projection's name and position, and when the event at that position was recorded."""
    in_order = Checkpoint.objects.order_by("name")
    return list(in_order.values_list("name", "position", "recorded_at"))


def positions() -> set[int]:
    return {position for _, position, _ in checkpoints()}


def failing(projection: Projection, on: type[LoanEvent], times: int = 1_000_000) -> Projection:
    """The projection with a handler that fails on one type of event, and tells all it knows."""
    failures = iter(range(times))

    def handle(event: LoanEvent) -> bool:
        is_handled = projection.handle(event)
        if isinstance(event, on) and next(failures, None) is not None:
            raise ValueError(f"{event!r} of {ZOE.name}, {ZOE.national_id}, {ZOE.address}")
        return is_handled

    return replace(projection, handle=handle)


def assert_read_models_tell_what_the_events_say() -> None:
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


class TestEventsThatAreDeliveredAgain:
    """The store promises each event at least once."""

    class ClientThatRedelivers(EventStoreDBClient):
        """Begins every subscription at the beginning, whatever is asked for."""

        def subscribe_to_all(self, *args: Any, **kwargs: Any) -> AbstractCatchupSubscription:
            return super().subscribe_to_all(*args, **{**kwargs, "commit_position": None})

    @pytest.fixture
    def redelivering(self, event_store: RunningEventStore) -> Iterator[Connect]:
        client = self.ClientThatRedelivers(event_store.uri)
        yield lambda: client
        client.close()

    def test_change_nothing(self, redelivering: Connect) -> None:
        append_a_loan_of_each_kind()
        catch_up()
        before, announced = (rows(), checkpoints()), Announced()

        catch_up(connect=redelivering, announce=announced)

        assert (rows(), checkpoints()) == before
        assert announced.changes == []

    def test_are_told_from_new_ones_among_them(self, redelivering: Connect) -> None:
        append_a_loan_of_each_kind()
        catch_up()
        new = append_requested_loan()

        catch_up(connect=redelivering)

        assert_read_models_tell_what_the_events_say()
        assert positions() == {new.position}


class TestAHandlerThatFails:
    def test_has_rows_and_checkpoint_rolled_back_together(self) -> None:
        first = append_requested_loan(score=9)
        catch_up(STATUS)
        before = rows(STATUS), checkpoints()
        append_requested_loan(score=9)
        append_requested_loan(score=1)
        new = list(event_store_client().read_all())[3:]

        with pytest.raises(EventNotHandled):
            apply_batch(failing(STATUS, on=AutoDenied), new, after=first.position)

        assert (rows(STATUS), checkpoints()) == before

    def test_names_the_event_and_no_applicant_in_the_log(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level("DEBUG")
        denied = append_requested_loan(score=1)
        event = event_store_client().get_stream(f"LoanRequest:{denied.loan_request_id}")[-1]

        with following(failing(STATUS, on=AutoDenied)):
            wait_until(lambda: "cannot handle" in caplog.text, SECONDS)

        failure = (
            f"loan_status cannot handle AutoDenied {event.id} at {denied.position}: ValueError"
        )
        assert failure in caplog.text
        assert not ZOE.is_told_by(caplog.text)

    def test_is_tried_again(self) -> None:
        denied = append_requested_loan(score=1)
        with following(failing(STATUS, on=AutoDenied, times=2)):
            wait_for(STATUS, denied.position)
        assert LoanStatus.objects.get().status == Status.DENIED

    def test_does_not_hold_back_the_other_projections(self) -> None:
        denied = append_requested_loan(score=1)
        with following(failing(STATUS, on=LoanRequested)), following(LOANS), following(QUEUE):
            wait_for(LOANS, denied.position)
            wait_for(QUEUE, denied.position)
        assert LoanRequest.objects.get().status == Status.DENIED
        assert read_checkpoint(STATUS) == 0
        assert rows(STATUS) == []

    @pytest.mark.usefixtures("_keeps_signal_handlers")
    def test_of_a_broken_event_ends_the_command_with_its_name_only(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level("DEBUG")
        position = append_event("LoanRequested", f'{{"name": "{ZOE.name}"}}'.encode())
        with pytest.raises(CommandError, match=f"LoanRequested .* at {position}") as failure:
            call_command("project", "loan_status", "--once")
        assert not ZOE.is_told_by(caplog.text + str(failure.value))


class TestARebuild:
    def test_equals_the_first_build(self) -> None:
        append_a_loan_of_each_kind()
        append_event("LoanPaidBack")
        catch_up()
        built = rows(), checkpoints()
        for projection in PROJECTIONS.values():
            projection.reset()
        assert rows() == []

        catch_up()

        assert (rows(), checkpoints()) == built
        assert_read_models_tell_what_the_events_say()

    def test_beside_a_live_follower_ends_with_the_right_rows(self) -> None:
        append_a_loan_of_each_kind()
        with following(STATUS, batch_size=2), appending_loans():
            wait_until(lambda: read_checkpoint(STATUS) > 20, SECONDS)
            for _ in range(3):
                STATUS.reset()
                catch_up(STATUS)
            last = append_a_loan_of_each_kind()
            wait_for(STATUS, last.position)
        catch_up()
        assert_read_models_tell_what_the_events_say()

    def test_is_noticed_by_a_live_follower_which_helps_to_finish_it(self) -> None:
        append_a_loan_of_each_kind()
        with following(STATUS):
            wait_for(STATUS, append_requested_loan().position)
            STATUS.reset()
            wait_for(STATUS, append_requested_loan().position)
        assert {each.id for each in LoanStatus.objects.all()} == recorded_loans().keys()


class TestTwoProjectorsOnOneDatabase:
    def test_apply_each_event_once(self) -> None:
        def count(event: LoanEvent) -> bool:
            is_there = LoanStatus.objects.filter(id=event.id).update(amount=F("amount") + 1)
            if not is_there:
                LoanStatus.objects.create(id=event.id, amount=1, received_at=event.occurred_at)
            return True

        counting = replace(STATUS, handle=count)
        with following(counting, batch_size=3), following(counting, batch_size=2):
            for _ in range(5):
                last = append_a_loan_of_each_kind()
            wait_for(counting, last.position)

        streams = Counter(event.stream_name for event in event_store_client().read_all())
        assert {
            f"LoanRequest:{each.id}": each.amount for each in LoanStatus.objects.all()
        } == streams

    def test_do_so_as_real_processes_too(
        self, event_store: RunningEventStore, read_models: ReadModelsDatabase
    ) -> None:
        with (
            projecting(event_store, read_models) as first,
            projecting(event_store, read_models) as second,
        ):
            wait_until(first.is_caught_up, SECONDS)
            wait_until(second.is_caught_up, SECONDS)
            for _ in range(10):
                last = append_a_loan_of_each_kind()
            for projection in PROJECTIONS.values():
                wait_for(projection, last.position)
        assert "cannot handle" not in first.output + second.output
        assert_read_models_tell_what_the_events_say()


class TestABroadcast:
    def test_is_sent_when_others_can_see_the_row(self, caplog: pytest.LogCaptureFixture) -> None:
        seen: list[tuple[Changes, list[UUID]]] = []

        def announce(changes: Changes) -> None:
            # A thread of its own has a connection of its own.
            with ThreadPoolExecutor(1) as other:
                seen.append((changes, other.submit(pending_ids).result(SECONDS)))

        append_requested_loan(score=9)
        with following(QUEUE, announce=announce):
            wait_until_live(QUEUE, caplog)
            pending = append_requested_loan(score=5).loan_request_id
            wait_until(lambda: seen, SECONDS)

        assert seen == [({broadcasts.UNDERWRITING: {pending}}, [pending])]

    def test_is_not_sent_when_the_transaction_was_rolled_back(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        announced = Announced()
        append_event("LoanPaidBack")
        with following(failing(STATUS, on=LoanRequested), announce=announced):
            wait_until_live(STATUS, caplog)
            append_requested_loan()
            wait_until(lambda: caplog.text.count("cannot handle") == 2, SECONDS)
        assert announced.changes == []

    def test_is_not_sent_in_a_rebuild_but_of_what_comes_after(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        announced = Announced()
        append_a_loan_of_each_kind()
        with following(QUEUE, announce=announced):
            wait_until_live(QUEUE, caplog)
            assert announced.changes == []
            new = append_requested_loan(score=5)
            wait_until(lambda: announced.changes, SECONDS)
        assert announced.changes == [{broadcasts.UNDERWRITING: {new.loan_request_id}}]

    def test_is_not_sent_in_a_rebuild_that_someone_else_began(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        announced = Announced()
        append_a_loan_of_each_kind()
        with following(QUEUE, announce=announced):
            wait_until_live(QUEUE, caplog)
            rebuild_up_to_the_first_event(QUEUE)
            wait_for(QUEUE, append_requested_loan(score=5).position)
            wait_until(lambda: caplog.text.count("is caught up at") == 2, SECONDS)
        assert announced.changes == []

    def test_is_sent_late_of_what_happened_while_the_projector_was_away(self) -> None:
        announced = Announced()
        append_requested_loan(score=5)
        catch_up(QUEUE)
        missed = {append_requested_loan(score=5).loan_request_id for _ in range(3)}

        catch_up(QUEUE, announce=announced)

        assert announced.changes == [{broadcasts.UNDERWRITING: missed}]


class TestTheCheckpoint:
    def test_is_always_at_an_event_that_was_received(self) -> None:
        last = append_a_loan_of_each_kind()
        catch_up()
        # The store names positions behind these, which the filter leaves out, to subscribers.
        append_event("$metrics", times=500)

        catch_up()
        catch_up()

        assert positions() == {last.position}

    def test_moves_past_events_that_no_projection_knows(self) -> None:
        append_a_loan_of_each_kind()
        position = append_event("LoanPaidBack")
        catch_up()
        assert positions() == {position}

    def test_has_the_time_at_which_its_event_was_recorded(self) -> None:
        loan = append_requested_loan()
        catch_up(STATUS)
        last = event_store_client().get_stream(f"LoanRequest:{loan.loan_request_id}")[-1]
        assert Checkpoint.objects.get(name=STATUS.name).recorded_at == last.recorded_at


class TestALoss:
    def test_of_the_event_store_is_got_over_and_said_once(
        self, event_store: RunningEventStore, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level("INFO")
        append_a_loan_of_each_kind()
        with following(STATUS):
            wait_until_live(STATUS, caplog)
            event_store.stop()
            wait_until(lambda: "loan_status lost the event store" in caplog.text, SECONDS)
            event_store.restart()
            wait_until(lambda: "loan_status regained the event store" in caplog.text, SECONDS)
            wait_for(STATUS, append_requested_loan().position)
        assert caplog.text.count("lost the event store") == 1
        assert caplog.text.count("regained the event store") == 1
        assert LoanStatus.objects.count() == len(recorded_loans())

    @pytest.mark.parametrize("read_models", ["postgresql"], indirect=True)
    def test_of_the_database_is_got_over_and_said_once(
        self, read_models: ReadModelsDatabase, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level("INFO")
        append_a_loan_of_each_kind()
        with following(STATUS):
            wait_until_live(STATUS, caplog)
            end_all_connections(read_models)
            append_requested_loan()
            wait_until(lambda: "loan_status regained the database" in caplog.text, SECONDS)
        assert caplog.text.count("lost the database") == 1
        assert LoanStatus.objects.count() == len(recorded_loans())


class TestTheCommand:
    def test_loses_and_doubles_nothing_when_it_is_killed_in_the_middle(
        self, event_store: RunningEventStore, read_models: ReadModelsDatabase
    ) -> None:
        with appending_loans():
            for _ in range(3):
                with projecting(event_store, read_models) as killed:
                    position = read_checkpoint(STATUS)
                    wait_for(STATUS, position + 1)
                    time.sleep(random.uniform(0, 0.1))  # Some moment in one of the next batches.
                    killed.process.kill()

        with projecting(event_store, read_models, "--once") as last:
            assert last.process.wait(SECONDS) == 0

        assert "cannot handle" not in last.output
        assert_read_models_tell_what_the_events_say()

    @pytest.mark.parametrize("read_models", ["sqlite"], indirect=True)
    def test_rebuilds_beside_another_that_is_live(
        self, event_store: RunningEventStore, read_models: ReadModelsDatabase
    ) -> None:
        append_a_loan_of_each_kind()
        catch_up()
        LoanStatus.objects.update(status="approved")
        with following(STATUS), projecting(event_store, read_models, "--rebuild", "--once") as it:
            assert it.process.wait(SECONDS) == 0
        assert_read_models_tell_what_the_events_say()

    @pytest.mark.parametrize("read_models", ["sqlite"], indirect=True)
    def test_ends_cleanly_on_sigterm(
        self, event_store: RunningEventStore, read_models: ReadModelsDatabase
    ) -> None:
        with projecting(event_store, read_models) as it:
            wait_until(it.is_caught_up, SECONDS)
            it.process.terminate()
            assert it.process.wait(3) == 0
        assert "Traceback" not in it.output

    @pytest.mark.usefixtures("_keeps_signal_handlers")
    def test_runs_only_the_projections_that_are_named(self) -> None:
        last = append_a_loan_of_each_kind()
        call_command("project", "loan_status", "underwriters_queue", "--once")
        assert read_checkpoint(STATUS) == read_checkpoint(QUEUE) == last.position
        assert not Checkpoint.objects.filter(name=LOANS.name).exists()

    @pytest.mark.parametrize("read_models", ["sqlite"], indirect=True)
    def test_says_which_projections_there_are_when_it_is_given_an_unknown_one(self) -> None:
        with pytest.raises(CommandError) as refusal:
            call_command("project", "loan_status", "loans", "nothing")
        assert str(refusal.value) == (
            "No projection loans, nothing. "
            "There are: underwriters_queue, loan_status, loan_requests."
        )


@pytest.fixture
def _keeps_signal_handlers() -> Iterator[None]:
    """The command takes signals for itself; afterwards they are pytest's again."""
    kept = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)


def pending_ids() -> list[UUID]:
    try:
        return list(PendingRequest.objects.values_list("id", flat=True))
    finally:
        connections.close_all()


def wait_until_live(projection: Projection, caplog: pytest.LogCaptureFixture) -> None:
    """Until a follower has caught up with history. Needs no more of the log than level INFO."""
    caplog.set_level("INFO")
    wait_until(lambda: f"{projection.name} is caught up" in caplog.text, SECONDS, every=0.01)


def rebuild_up_to_the_first_event(projection: Projection) -> None:
    """What another projector has done that has only just begun."""
    projection.reset()
    apply_batch(projection, list(event_store_client().read_all(limit=1)), after=0)


def end_all_connections(database: ReadModelsDatabase) -> None:
    """What a restart of PostgreSQL does to them."""
    with connections[database.alias].cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


@contextmanager
def appending_loans() -> Iterator[None]:
    """Loans of each kind, one after the other, as long as this lasts."""
    stop = threading.Event()

    def append() -> None:
        while not stop.is_set():
            append_a_loan_of_each_kind()

    with ThreadPoolExecutor(1) as thread:
        appending = thread.submit(append)
        try:
            yield
        finally:
            stop.set()
            appending.result(SECONDS)


@dataclass(frozen=True)
class Projecting:
    """A `manage.py project` that was started, and may have ended."""

    process: subprocess.Popen[bytes]
    output_file: Path

    @property
    def output(self) -> str:
        return self.output_file.read_text()

    def is_caught_up(self) -> bool:
        """Whether it said so of each projection."""
        return self.output.count("is caught up at") == len(PROJECTIONS)


@contextmanager
def projecting(
    event_store: RunningEventStore, read_models: ReadModelsDatabase, *arguments: str
) -> Iterator[Projecting]:
    """A real process, which is ended with SIGTERM when this is left."""
    output_file = event_store.data.with_name(f"project-{uuid4()}.log")
    with output_file.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "manage.py", "project", *arguments],
            cwd=PROJECT,
            env=environment(event_store, read_models),
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield Projecting(process, output_file)
    finally:
        process.terminate()
        process.wait(SECONDS)


def environment(event_store: RunningEventStore, read_models: ReadModelsDatabase) -> dict[str, str]:
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
