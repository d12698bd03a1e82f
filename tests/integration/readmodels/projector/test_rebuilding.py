"""Rebuilds while pages go on reading the live rows, on SQLite and on PostgreSQL."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from io import StringIO
from typing import Any
from uuid import uuid4

import pytest
from django.core.management import CommandError, call_command
from django.db import connections, transaction
from django.db.models import Model

from lepret.common.event_store_client import event_store_client
from readmodels.models import Checkpoint, LoanRequest, LoanStatus, PendingRequest, Rebuild
from readmodels.projections import PROJECTIONS, Projection
from readmodels.projector.coordination.advisory_locks import only_one
from readmodels.projector.rebuilding import (
    Advance,
    RebuildRunsElsewhere,
    switch,
)
from tests.support.event_store import RunningEventStore
from tests.support.loans import (
    AT,
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
    CountingSource,
    appending_loans,
    assert_read_models_tell_what_the_events_say,
    catch_up,
    following,
    interrupted,
    manage_py,
    new_rebuilder,
    position_of,
    rebuild,
    rows,
    running,
    wait_for,
)
from tests.support.read_models import ReadModelsDatabase

pytestmark = pytest.mark.usefixtures("event_store", "read_models")

MODELS = [each.model for each in PROJECTIONS.values()]


def tables_of(database: ReadModelsDatabase) -> set[str]:
    return set(connections[database.alias].introspection.table_names())


def checkpoints() -> list[dict[str, Any]]:
    """The columns of all checkpoints, except those that differ between builds."""
    columns = ("name", "version", "position", "recorded_at", "events")
    return [{**each} for each in Checkpoint.objects.order_by("name").values(*columns)]


class TestWhatWasBuiltAnew:
    def test_equals_the_first_build(self) -> None:
        append_a_loan_of_each_kind()
        append_event("LoanPaidBack")
        catch_up()
        built = rows(), checkpoints()
        for model in MODELS:
            model._default_manager.all().delete()

        rebuild()

        assert (rows(), checkpoints()) == built
        assert_read_models_tell_what_the_events_say()

    def test_has_the_schema_that_migrations_know(self, read_models: ReadModelsDatabase) -> None:
        append_a_loan_of_each_kind()
        catch_up()
        made, there = (
            {model: schema(read_models, model) for model in MODELS},
            tables_of(read_models),
        )
        for _ in range(3):
            rebuild()
            assert {model: schema(read_models, model) for model in MODELS} == made
            assert tables_of(read_models) == there

    def test_can_be_migrated(self, read_models: ReadModelsDatabase) -> None:
        append_a_loan_of_each_kind()
        catch_up()
        rebuild()
        rebuild(QUEUE)

        (index,) = PendingRequest._meta.indexes
        name: Any = LoanRequest._meta.get_field("name")
        unindexed = name.clone()
        unindexed.db_index = False
        unindexed.set_attributes_from_name("name")
        unindexed.model = LoanRequest
        with connections[read_models.alias].schema_editor() as editor:
            editor.remove_index(PendingRequest, index)
            editor.alter_field(LoanRequest, name, unindexed)

        assert index.name not in constraints(read_models, PendingRequest)
        indexes = [each for each in constraints(read_models, LoanRequest).values() if each["index"]]
        assert ["name"] not in [each["columns"] for each in indexes]
        call_command("makemigrations", "readmodels", check=True, dry_run=True, verbosity=0)
        assert_read_models_tell_what_the_events_say()

    def test_needs_no_rows_to_begin_with(self) -> None:
        append_a_loan_of_each_kind()
        rebuild()
        assert_read_models_tell_what_the_events_say()


def constraints(database: ReadModelsDatabase, model: type[Model]) -> dict[str, dict[str, Any]]:
    connection = connections[database.alias]
    with connection.cursor() as cursor:
        found = connection.introspection.get_constraints(cursor, model._meta.db_table)
    return {name: {**each} for name, each in found.items()}


def schema(database: ReadModelsDatabase, model: type[Model]) -> dict[str, Any]:
    """Columns, indexes and constraints; with their names if migrations have given these."""
    connection = connections[database.alias]
    with connection.cursor() as cursor:
        described = connection.introspection.get_table_description(cursor, model._meta.db_table)
    found = constraints(database, model)
    known = {each.name for each in (*model._meta.indexes, *model._meta.constraints)}
    return {
        "columns": [tuple(each) for each in described],
        "named": {name: found[name] for name in known},
        "others": sorted(repr(each) for name, each in found.items() if name not in known),
    }


class TestPages:
    """Loops read through the ORM what pages read, while rebuilds go on."""

    def test_never_see_a_table_that_is_empty_or_half_built_and_no_error(
        self, read_models: ReadModelsDatabase
    ) -> None:
        for _ in range(10):
            append_a_loan_of_each_kind()
        append_event("LoanPaidBack", times=500)
        catch_up()
        readers = [Reader(QUEUE), Reader(STATUS), Reader(LOANS)]
        with reading(*readers), ExitStack() as stack:
            for each in PROJECTIONS.values():
                stack.enter_context(following(each))
            with appending_loans(every=0.1):
                for _ in range(3):
                    before = [reader.asked for reader in readers]
                    rebuild(batch_size=100)
                    for reader, asked in zip(readers, before, strict=True):
                        wait_until(partial(reader.has_asked, asked))
            last = append_a_loan_of_each_kind()
            for projection in PROJECTIONS.values():
                wait_for(projection, last.position)

        assert [problem for reader in readers for problem in reader.problems] == []
        assert {each.builds for each in Checkpoint.objects.all()} == {3}
        assert_read_models_tell_what_the_events_say()

    def test_may_read_for_long_while_others_read_on(
        self, read_models: ReadModelsDatabase, caplog: pytest.LogCaptureFixture
    ) -> None:
        for _ in range(3):
            append_a_loan_of_each_kind()
        catch_up()
        expected, reader = LoanStatus.objects.count(), Reader(STATUS)
        is_done = threading.Event()

        def build() -> None:
            rebuild(STATUS)
            is_done.set()

        with running(build, threading.Event()), reading(reader):
            with reading_for_long(read_models) as long_reading:
                seen = [next(long_reading)]
                wait_until(lambda: is_done.is_set() or "lost the database" in caplog.text)
                asked = reader.asked
                wait_until(lambda: reader.asked > asked + 3)
                seen += long_reading
            wait_until(is_done.is_set)

        assert reader.problems == []
        assert len(seen) == expected
        assert Checkpoint.objects.get(name=STATUS.name).builds == 1


@contextmanager
def reading_for_long(database: ReadModelsDatabase) -> Iterator[Iterator[LoanStatus]]:
    """A query whose rows are read one by one, in a transaction that lasts as long as the block."""
    connection = connections[database.alias]
    if connection.vendor == "postgresql":
        with transaction.atomic(using=database.alias):
            yield iter(LoanStatus.objects.order_by("id").iterator(chunk_size=1))
        return
    # Not in an atomic block, which would lock the database for writers there.
    yield iter(LoanStatus.objects.order_by("id").iterator(chunk_size=1))


class Reader:
    """Reads a projection's rows again and again; collects errors and counts that went down."""

    def __init__(self, projection: Projection) -> None:
        self.asked = 0
        self.problems: list[str] = []
        self._projection = projection
        self._most = 0

    def run(self, stop: threading.Event) -> None:
        try:
            while not stop.wait(0.005):  # To leave the other threads some time.
                self._ask()
                self.asked += 1
        except Exception as problem:  # noqa: BLE001 (whatever it is, it is what this looks for)
            self.problems.append(repr(problem))
        finally:
            connections.close_all()

    def has_asked(self, more_than: int) -> bool:
        return self.asked > more_than

    def _ask(self) -> None:
        # Loans are only added here, and one of each five waits for ever.
        page = self._projection.model._default_manager.order_by("pk")
        there, on_page = page.count(), len(page[:5])
        least = self._most - (2 if self._projection is QUEUE else 0)
        if there < least or on_page < min(least, 5):
            self.problems.append(f"{self._projection.name}: {there} after {self._most}")
        self._most = max(there, self._most)


@contextmanager
def reading(*readers: Reader) -> Iterator[None]:
    stop = threading.Event()
    threads = [threading.Thread(target=reader.run, args=[stop]) for reader in readers]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join(PATIENCE)


class TestALiveFollower:
    def test_goes_on_beside_it_and_after_the_switch_and_loses_and_doubles_nothing(self) -> None:
        append_a_loan_of_each_kind()
        with following(COUNTING, batch_size=20):
            with appending_loans(every=0.1):
                for _ in range(3):
                    wait_for(COUNTING, position_of(COUNTING) + 10)
                    rebuild(COUNTING, batch_size=20)
            wait_for(COUNTING, append_a_loan_of_each_kind().position)

        streams = Counter(event.stream_name for event in event_store_client().read_all())
        counts = {f"LoanRequest:{each.id}": each.amount for each in LoanStatus.objects.all()}
        assert counts == streams
        assert Checkpoint.objects.get(name=STATUS.name).events == sum(streams.values())

    def test_goes_back_with_an_older_event_store_that_was_restored(self) -> None:
        append_a_loan_of_each_kind()
        catch_up(STATUS)
        # A row and a position whose events are no longer in the store.
        gone = LoanStatus.objects.create(pk=uuid4(), amount=1, received_at=AT)
        Checkpoint.objects.update(position=10_000)
        with following(STATUS):
            rebuild(STATUS)
            assert not LoanStatus.objects.filter(pk=gone.pk).exists()
            assert position_of(STATUS) < 10_000
            wait_for(STATUS, append_requested_loan().position)
        assert {each.pk for each in LoanStatus.objects.all()} == recorded_loans().keys()


class TestAnInterruptedRebuild:
    def test_goes_on_where_it_was(self) -> None:
        append_a_loan_of_each_kind()
        catch_up()
        position = interrupted(STATUS)
        assert 0 < position < position_of(STATUS)
        built = rows()

        after: list[int] = []

        class Source(CountingSource):
            def subscribe(self, begin: int) -> Any:
                after.append(begin)
                return super().subscribe(begin)

        new_rebuilder(STATUS, source=Source()).run()

        assert after == [position]
        assert rows() == built
        assert Checkpoint.objects.get(name=STATUS.name).builds == 1
        assert not Rebuild.objects.exists()

    def test_comes_level_with_rows_that_never_stand_still(self) -> None:
        append_a_loan_of_each_kind()

        def go_on(advance: Advance) -> None:
            wait_for(STATUS, append_a_loan_of_each_kind().position)

        with following(STATUS):
            new_rebuilder(STATUS, advanced=go_on).run()
        catch_up(QUEUE, LOANS)
        assert_read_models_tell_what_the_events_say()

    def test_does_not_take_the_place_of_rows_that_are_ahead_of_it(self) -> None:
        append_a_loan_of_each_kind()
        catch_up()
        live = rows(), checkpoints()
        interrupted(STATUS)
        assert not switch(STATUS, finish=lambda position: False)
        assert (rows(), checkpoints()) == live

    def test_begins_anew_where_its_table_is_gone(self, read_models: ReadModelsDatabase) -> None:
        append_a_loan_of_each_kind()
        catch_up()
        interrupted(STATUS)
        with connections[read_models.alias].cursor() as cursor:
            cursor.execute("DROP TABLE readmodels_loanstatus_1")
        rebuild(STATUS)
        assert_read_models_tell_what_the_events_say()

    @pytest.mark.usefixtures("_keeps_signal_handlers")
    def test_can_be_given_up(self, read_models: ReadModelsDatabase) -> None:
        append_a_loan_of_each_kind()
        catch_up()
        there, live = tables_of(read_models), (rows(), checkpoints())
        interrupted(STATUS)
        assert tables_of(read_models) == there | {"readmodels_loanstatus_1"}

        assert run_rebuild("loan_status", "--drop") == "loan_status: dropped\n"

        assert tables_of(read_models) == there
        assert not Rebuild.objects.exists()
        assert (rows(), checkpoints()) == live
        assert run_rebuild("loan_status", "--drop") == "loan_status: no rebuild is under way\n"
        rebuild(STATUS)
        assert Checkpoint.objects.get(name=STATUS.name).builds == 2

    def test_is_dropped_for_that_of_another_version(self, read_models: ReadModelsDatabase) -> None:
        append_a_loan_of_each_kind()
        catch_up()
        there = tables_of(read_models)
        interrupted(STATUS)

        interrupted(DOUBLING)

        assert tables_of(read_models) == there | {"readmodels_loanstatus_2"}
        assert Rebuild.objects.get().version == DOUBLING.version
        rebuild(DOUBLING)
        assert tables_of(read_models) == there
        assert {each.amount for each in LoanStatus.objects.all()} == {10_000}

    def test_by_kill_at_any_moment_is_finished_when_it_is_run_again(
        self, event_store: RunningEventStore, read_models: ReadModelsDatabase
    ) -> None:
        for _ in range(5):
            append_a_loan_of_each_kind()
            append_event("LoanPaidBack", times=1_000)
        catch_up()
        live, there = (rows(), checkpoints()), tables_of(read_models)
        for _ in range(3):
            with manage_py(event_store, read_models, "rebuild", "loan_requests") as killed:
                wait_until(lambda: Rebuild.objects.exists() or killed.process.poll() is not None)
                time.sleep(random.uniform(0, 0.2))  # Some moment: there is nothing to wait for.
                killed.process.kill()
                killed.process.wait(PATIENCE)
            assert (rows(), checkpoints()) == live

        with manage_py(event_store, read_models, "rebuild", "loan_requests") as last:
            assert last.process.wait(PATIENCE) == 0, last.output

        assert "loan_requests: rebuilt, and live." in last.output
        assert (rows(), checkpoints()) == live
        assert tables_of(read_models) == there
        assert not Rebuild.objects.exists()


class TestTheCommand:
    pytestmark = pytest.mark.usefixtures("_keeps_signal_handlers")

    @pytest.mark.parametrize("read_models", ["sqlite"], indirect=True)
    def test_rebuilds_what_is_named(self) -> None:
        append_a_loan_of_each_kind()
        catch_up()
        assert "loan_status: rebuilt, and live." in run_rebuild("loan_status")
        builds = dict(Checkpoint.objects.values_list("name", "builds"))
        assert builds == {name: int(name == "loan_status") for name in PROJECTIONS}

    @pytest.mark.parametrize("read_models", ["postgresql"], indirect=True)
    def test_refuses_what_another_process_rebuilds(self) -> None:
        with only_one("rebuild loan_status") as is_alone:
            assert is_alone
            with pytest.raises(CommandError, match="loan_status: another process rebuilds it"):
                run_rebuild("loan_status")
        assert not Rebuild.objects.exists()

    def test_goes_back_to_an_older_version_only_when_told_to(self) -> None:
        append_a_loan_of_each_kind()
        rebuild(DOUBLING)
        with pytest.raises(CommandError, match="--older-version"):
            run_rebuild("loan_status")
        assert {each.amount for each in LoanStatus.objects.all()} == {10_000}

        run_rebuild("loan_status", "--older-version")

        assert {each.amount for each in LoanStatus.objects.all()} == {5_000}
        assert Checkpoint.objects.get(name=STATUS.name).version == STATUS.version

    @pytest.mark.parametrize("read_models", ["sqlite"], indirect=True)
    def test_says_which_projections_there_are_when_it_is_given_an_unknown_one(self) -> None:
        with pytest.raises(CommandError, match=r"^No projection loans\. There are: "):
            run_rebuild("loans")


def run_rebuild(*arguments: str) -> str:
    output = StringIO()
    call_command("rebuild", *arguments, stdout=output)
    return output.getvalue()


def test_two_rebuilds_at_once_end_with_the_right_rows() -> None:
    """As on SQLite, which has no lock for this, or after a lock was lost."""
    append_a_loan_of_each_kind()
    catch_up()
    live = rows(), checkpoints()
    outcomes: list[str] = []

    def build() -> None:
        try:
            rebuild(STATUS, batch_size=1)
            outcomes.append("built")
        except RebuildRunsElsewhere:
            outcomes.append("elsewhere")

    threads = [threading.Thread(target=build) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)

    assert len(outcomes) == 2
    assert "built" in outcomes
    assert (rows(), checkpoints()) == live
    assert not Rebuild.objects.exists()
