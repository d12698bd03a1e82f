"""The projector on SQLite and on PostgreSQL, against the real embedded event store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any
from uuid import UUID

import pytest
from django.core.management import call_command
from django.db import connections, transaction

from lepret.common.event_store_client import event_store_client
from loans.domain.events import LoanRequested
from readmodels.live import broadcasts
from readmodels.models import Checkpoint, Failure, LoanStatus, PendingRequest
from readmodels.projections import PROJECTIONS, Projection
from readmodels.projector import failures
from readmodels.projector.batches import Applier, CheckpointGone, NewerVersionIsLive
from readmodels.projector.feeds import CatchUpSubscription, EventStoreSource
from readmodels.projector.received import Received
from tests.support.event_store import RunningEventStore
from tests.support.loans import (
    append_a_loan_of_each_kind,
    append_event,
    append_requested_loan,
    recorded_loans,
)
from tests.support.processes import PATIENCE, wait_until
from tests.support.projectors import (
    COUNTING,
    DOUBLING,
    LOANS,
    QUEUE,
    STATUS,
    WORDS,
    Announced,
    CountingSource,
    appending_loans,
    are_caught_up,
    assert_read_models_tell_what_the_events_say,
    catch_up,
    failing,
    following,
    manage_py,
    position_of,
    rebuild,
    rebuilding_when_needed,
    rows,
    wait_for,
)
from tests.support.read_models import ReadModelsDatabase

pytestmark = pytest.mark.usefixtures("event_store", "read_models")


def checkpoints() -> list[tuple[str, int, datetime | None]]:
    """Each projection's name and position, and when the event at that position was recorded."""
    in_order = Checkpoint.objects.order_by("name")
    return list(in_order.values_list("name", "position", "recorded_at"))


def positions() -> set[int]:
    return {position for _, position, _ in checkpoints()}


class TestEventsThatAreDeliveredAgain:
    """The store promises each event at least once."""

    class Redelivering(EventStoreSource):
        """Begins every subscription at the beginning, whatever is asked for."""

        def subscribe(self, after: int) -> CatchUpSubscription:
            return super().subscribe(0)

    def test_change_nothing(self) -> None:
        append_a_loan_of_each_kind()
        catch_up()
        before, announced = (rows(), checkpoints()), Announced()

        catch_up(source=self.Redelivering(event_store_client), announcer=announced)

        assert (rows(), checkpoints()) == before
        assert announced.changes == []
        assert announced.reached == []

    def test_do_not_keep_new_ones_from_being_applied(self) -> None:
        append_a_loan_of_each_kind()
        catch_up()
        new = append_requested_loan()

        catch_up(source=self.Redelivering(event_store_client))

        assert_read_models_tell_what_the_events_say()
        assert positions() == {new.position}


class TestTwoProjectorsOnOneDatabase:
    def test_apply_each_event_once(self) -> None:
        with following(COUNTING, batch_size=3), following(COUNTING, batch_size=2):
            for _ in range(5):
                last = append_a_loan_of_each_kind()
            wait_for(COUNTING, last.position)
        assert_each_event_was_counted_once()

    @pytest.mark.parametrize("read_models", ["postgresql"], indirect=True)
    def test_do_so_when_connections_are_cut_while_they_write(
        self, read_models: ReadModelsDatabase
    ) -> None:
        """As if one had lost its lock with its connection, and did not know it yet."""
        with (
            following(COUNTING, batch_size=3),
            following(COUNTING, batch_size=2),
            appending_loans(),
        ):
            for _ in range(5):
                wait_for(COUNTING, position_of(COUNTING) + 10)
                end_all_connections(read_models)
            last = append_a_loan_of_each_kind()
            wait_for(COUNTING, last.position)
        catch_up(COUNTING)
        assert_each_event_was_counted_once()
        assert not Failure.objects.exists()

    def test_do_so_as_real_processes_too(
        self, event_store: RunningEventStore, read_models: ReadModelsDatabase
    ) -> None:
        # On PostgreSQL they share out the projections, on SQLite both run all of them.
        with (
            manage_py(event_store, read_models, "project") as first,
            manage_py(event_store, read_models, "project") as second,
        ):
            wait_until(lambda: are_caught_up(first.output + second.output))
            for _ in range(10):
                last = append_a_loan_of_each_kind()
            for projection in PROJECTIONS.values():
                wait_for(projection, last.position)
        assert "cannot handle" not in first.output + second.output
        assert_read_models_tell_what_the_events_say()


class TestABroadcast:
    def test_is_sent_when_others_can_see_the_row(self, caplog: pytest.LogCaptureFixture) -> None:
        seen: list[list[UUID]] = []

        class Looking(Announced):
            def send(self, *args: Any, **kwargs: Any) -> None:
                super().send(*args, **kwargs)
                # Another thread has another connection.
                with ThreadPoolExecutor(1) as other:
                    seen.append(other.submit(pending_ids).result(PATIENCE))

        append_requested_loan(score=9)
        announced = Looking()
        with following(QUEUE, announcer=announced):
            wait_until_live(QUEUE, caplog)
            pending = append_requested_loan(score=5).loan_request_id
            wait_until(lambda: seen)

        assert announced.changes == [{broadcasts.UNDERWRITING: {pending}}]
        assert seen == [[pending]]

    def test_says_when_the_oldest_event_that_changed_something_was_recorded(self) -> None:
        append_event("LoanPaidBack")
        catch_up(STATUS)
        first = append_requested_loan(score=9)
        append_requested_loan(score=9)
        announced = Announced()

        catch_up(STATUS, announcer=announced)

        oldest = event_store_client().get_stream(f"LoanRequest:{first.loan_request_id}")[0]
        assert announced.recorded_at == [oldest.recorded_at]

    def test_of_the_position_is_sent_for_each_commit_once_it_can_be_seen(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        seen: list[int] = []

        class Looking(Announced):
            def send_reached(self, name: str, position: int) -> None:
                super().send_reached(name, position)
                with ThreadPoolExecutor(1) as other:
                    seen.append(other.submit(position_seen_by_another).result(PATIENCE))

        def position_seen_by_another() -> int:
            try:
                return position_of(WORDS)
            finally:
                connections.close_all()

        announced = Looking()
        append_event("LoanPaidBack", times=5)
        last = append_event("LoanPaidBack")
        with following(WORDS, announcer=announced, batch_size=2):
            wait_until_live(WORDS, caplog)
            wait_for(WORDS, append_requested_loan().position)

        reached = [position for _, position in announced.reached]
        assert {name for name, _ in announced.reached} == {WORDS.name}
        assert reached == sorted(set(reached))
        assert len([each for each in reached if each <= last]) >= 3
        assert seen == reached
        assert announced.changes == []  # Nobody watches these rows.

    def test_is_not_sent_when_the_transaction_was_rolled_back(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        announced = Announced()
        append_event("LoanPaidBack")
        with following(failing(STATUS, on=LoanRequested), announcer=announced):
            wait_until_live(STATUS, caplog)
            append_requested_loan()
            wait_until(lambda: caplog.text.count("cannot handle") >= 2)
        assert announced.changes == []

    def test_is_not_sent_in_the_first_build_or_a_rebuild_but_of_what_comes_after(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        announced = Announced()
        append_a_loan_of_each_kind()
        with following(QUEUE, announcer=announced):
            wait_until_live(QUEUE, caplog)
            rebuild(QUEUE)
            assert announced.changes == []
            new = append_requested_loan(score=5)
            wait_until(lambda: announced.changes)
        assert announced.changes == [{broadcasts.UNDERWRITING: {new.loan_request_id}}]

    def test_is_sent_late_of_what_happened_while_the_projector_was_away(self) -> None:
        announced = Announced()
        append_requested_loan(score=5)
        catch_up(QUEUE)
        missed = {append_requested_loan(score=5).loan_request_id for _ in range(3)}

        catch_up(QUEUE, announcer=announced)

        assert announced.changes == [{broadcasts.UNDERWRITING: missed}]


@pytest.mark.parametrize("read_models", ["sqlite"], indirect=True)
class TestTheCheckpoint:
    def test_is_always_at_an_event_that_was_received(self) -> None:
        last = append_a_loan_of_each_kind()
        catch_up()
        # The filter leaves these out, but the store sends subscribers a position after them.
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
    def test_of_the_event_store_is_survived_and_logged_once(
        self, event_store: RunningEventStore, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level("INFO")
        append_a_loan_of_each_kind()
        with following(STATUS):
            wait_until_live(STATUS, caplog)
            event_store.stop()
            wait_until(lambda: "loan_status lost the event store" in caplog.text)
            event_store.restart()
            wait_until(lambda: "loan_status regained the event store" in caplog.text)
            wait_for(STATUS, append_requested_loan().position)
        assert caplog.text.count("lost the event store") == 1
        assert caplog.text.count("regained the event store") == 1
        assert LoanStatus.objects.count() == len(recorded_loans())

    @pytest.mark.parametrize("read_models", ["postgresql"], indirect=True)
    def test_of_the_database_is_survived_and_logged_once(
        self, read_models: ReadModelsDatabase, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level("INFO")
        append_a_loan_of_each_kind()
        with following(STATUS):
            wait_until_live(STATUS, caplog)
            end_all_connections(read_models)
            append_requested_loan()
            wait_until(lambda: "loan_status regained the database" in caplog.text)
        assert caplog.text.count("lost the database") == 1
        assert LoanStatus.objects.count() == len(recorded_loans())

    def test_of_a_database_that_is_not_migrated_yet_is_survived(
        self, read_models: ReadModelsDatabase, caplog: pytest.LogCaptureFixture
    ) -> None:
        append_a_loan_of_each_kind()
        table, source = LoanStatus._meta.db_table, CountingSource()
        rename(read_models, table, "elsewhere")
        with following(STATUS, source=source):
            wait_for_many_attempts(source, caplog)
            assert not Failure.objects.exists()
            rename(read_models, "elsewhere", table)
            wait_for(STATUS, append_requested_loan().position)
        assert {each.id for each in LoanStatus.objects.all()} == recorded_loans().keys()
        assert not Failure.objects.exists()

    def test_of_a_lock_is_survived(
        self, read_models: ReadModelsDatabase, caplog: pytest.LogCaptureFixture
    ) -> None:
        append_a_loan_of_each_kind()
        catch_up(STATUS)
        have_locks_time_out(read_models)
        source = CountingSource()
        with following(STATUS, source=source):
            wait_until(lambda: source.count)
            with transaction.atomic(using=read_models.alias):
                # In SQLite, all that is written waits for this.
                Checkpoint.objects.select_for_update().get(name=STATUS.name)
                append_a_loan_of_each_kind()
                wait_for_many_attempts(source, caplog)
            wait_for(STATUS, append_requested_loan().position)
        assert {each.id for each in LoanStatus.objects.all()} == recorded_loans().keys()
        assert not Failure.objects.exists()

    @pytest.mark.parametrize("read_models", ["postgresql"], indirect=True)
    def test_of_a_race_for_a_row_is_survived(
        self, read_models: ReadModelsDatabase, caplog: pytest.LogCaptureFixture
    ) -> None:
        set_for_all(read_models, "default_transaction_isolation", "repeatable read")
        Checkpoint.objects.create(name=STATUS.name)
        with following(COUNTING, batch_size=1), following(COUNTING, batch_size=1):
            for _ in range(8):
                last = append_a_loan_of_each_kind()
            wait_for(COUNTING, last.position)
        assert "DatabaseAway" in caplog.text or "OperationalError" in caplog.text
        assert_each_event_was_counted_once()
        assert not Failure.objects.exists()


class TestANewVersion:
    """Of a projection, while the live rows are those of the old version."""

    @pytest.fixture(autouse=True)
    def _old_rows(self, event_store: RunningEventStore, read_models: ReadModelsDatabase) -> None:
        append_a_loan_of_each_kind()
        catch_up(STATUS)

    def test_keeps_the_old_rows_level_until_the_new_ones_take_their_place(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        old = {each.pk for each in LoanStatus.objects.all()}
        with following(DOUBLING):
            wait_for(STATUS, append_requested_loan().position)
            assert Checkpoint.objects.get(name=STATUS.name).version == STATUS.version
            assert amounts(old) == {5000}

            with rebuilding_when_needed(DOUBLING):
                wait_until(
                    lambda: Checkpoint.objects.get(name=STATUS.name).version == DOUBLING.version
                )
                assert amounts(old) == {10_000}
                wait_for(STATUS, append_requested_loan().position)

        assert {each.pk for each in LoanStatus.objects.all()} == recorded_loans().keys()
        assert amounts(recorded_loans().keys()) == {10_000}
        assert Checkpoint.objects.get(name=STATUS.name).version == DOUBLING.version

    def test_makes_a_follower_of_the_old_one_stand_aside_and_say_so_once(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level("INFO")
        with following(STATUS, source=(source := CountingSource()), batch_size=1):
            wait_until_live(STATUS, caplog)
            with appending_loans():
                wait_for(STATUS, position_of(STATUS) + 5)
                rebuild(DOUBLING)
            live = position_of(STATUS), rows(STATUS)
            append_a_loan_of_each_kind()
            wait_until(lambda: "a newer version's rows are live" in caplog.text)
            before = source.count
        assert (position_of(STATUS), rows(STATUS)) == live
        assert caplog.text.count("a newer version's rows are live") == 1
        assert source.count == before

        catch_up(DOUBLING)
        assert amounts(recorded_loans().keys()) == {10_000}
        assert {each.pk for each in LoanStatus.objects.all()} == recorded_loans().keys()

    def test_refuses_what_the_old_one_had_in_hand(self) -> None:
        applier = Applier.live(STATUS)
        append_requested_loan()
        rest = [Received(each) for each in event_store_client().read_all()][-3:]
        rebuild(DOUBLING)
        before = rows(STATUS), checkpoints()

        with pytest.raises(CheckpointGone):
            applier.apply(rest)

        assert (rows(STATUS), checkpoints()) == before

    def test_makes_an_attempt_to_catch_up_with_the_old_one_fail(self) -> None:
        rebuild(DOUBLING)
        with pytest.raises(NewerVersionIsLive):
            catch_up(STATUS)
        with pytest.raises(NewerVersionIsLive):
            rebuild(STATUS)

    def test_is_built_by_the_real_command_at_its_first_start(
        self, event_store: RunningEventStore, read_models: ReadModelsDatabase
    ) -> None:
        append_a_loan_of_each_kind()
        catch_up()
        built = rows()
        # As an older version of the code would have left it: another version, other rows.
        Checkpoint.objects.update(version=0)
        LoanStatus.objects.update(amount=0)
        with manage_py(event_store, read_models, "project") as projector:
            wait_until(lambda: not Checkpoint.objects.filter(version=0).exists())
            wait_for(STATUS, append_requested_loan().position)
        assert f"loan_status is built anew, as version {STATUS.version}" in projector.output
        assert [row for row in rows() if row in built] == built


class TestTheCommand:
    @pytest.mark.parametrize("read_models", ["sqlite"], indirect=True)
    def test_rebuilds_beside_another_that_is_live(
        self, event_store: RunningEventStore, read_models: ReadModelsDatabase
    ) -> None:
        append_a_loan_of_each_kind()
        catch_up()
        LoanStatus.objects.update(status="approved")
        with (
            following(STATUS),
            manage_py(event_store, read_models, "project", "--rebuild", "--once") as it,
        ):
            assert it.process.wait(PATIENCE) == 0
        assert_read_models_tell_what_the_events_say()

    @pytest.mark.parametrize("read_models", ["sqlite"], indirect=True)
    def test_ends_cleanly_on_sigterm(
        self, event_store: RunningEventStore, read_models: ReadModelsDatabase
    ) -> None:
        with manage_py(event_store, read_models, "project") as it:
            wait_until(it.is_caught_up)
            it.process.terminate()
            assert it.process.wait(PATIENCE) == 0
        assert "Traceback" not in it.output

    @pytest.mark.usefixtures("_keeps_signal_handlers")
    def test_runs_only_the_projections_that_are_named(self) -> None:
        last = append_a_loan_of_each_kind()
        call_command("project", "loan_status", "underwriters_queue", "--once")
        assert position_of(STATUS) == position_of(QUEUE) == last.position
        assert not Checkpoint.objects.filter(name=LOANS.name).exists()


def pending_ids() -> list[UUID]:
    try:
        return list(PendingRequest.objects.values_list("id", flat=True))
    finally:
        connections.close_all()


def wait_until_live(projection: Projection, caplog: pytest.LogCaptureFixture) -> None:
    """Wait until a follower has caught up with history."""
    caplog.set_level("INFO")
    wait_until(lambda: f"{projection.name} is caught up" in caplog.text, every=0.01)


def end_all_connections(database: ReadModelsDatabase) -> None:
    """End all other connections, as a restart of PostgreSQL does."""
    with connections[database.alias].cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


def set_for_all(database: ReadModelsDatabase, name: str, value: str) -> None:
    """Change a setting of PostgreSQL for all new connections."""
    with connections[database.alias].cursor() as cursor:
        cursor.execute("SELECT current_database()")
        (database_name,) = cursor.fetchone()
        cursor.execute(f"ALTER DATABASE {database_name} SET {name} = '{value}'")
    database.forget_connections()


def have_locks_time_out(database: ReadModelsDatabase) -> None:
    """Let waiting for a lock fail after 50 ms, not after many seconds as in production."""
    if connections[database.alias].vendor == "postgresql":
        set_for_all(database, "lock_timeout", "50ms")
        return
    settings = connections.settings[database.alias]
    settings["OPTIONS"] = {**settings["OPTIONS"], "timeout": 0.05}


def rename(database: ReadModelsDatabase, old: str, new: str) -> None:
    with connections[database.alias].cursor() as cursor:
        cursor.execute(f"ALTER TABLE {old} RENAME TO {new}")


def wait_for_many_attempts(source: CountingSource, caplog: pytest.LogCaptureFixture) -> None:
    """Wait for more attempts than are made at an event that cannot be handled."""
    enough = source.count + failures.MOST_ATTEMPTS + 2
    wait_until(lambda: source.count > enough, what="attempts are made")
    assert caplog.text.count("lost the database") == 1


def amounts(ids: Collection[UUID]) -> set[int]:
    return set(LoanStatus.objects.filter(id__in=ids).values_list("amount", flat=True))


def assert_each_event_was_counted_once() -> None:
    streams = Counter(event.stream_name for event in event_store_client().read_all())
    counts = {f"LoanRequest:{each.id}": each.amount for each in LoanStatus.objects.all()}
    assert counts == streams
