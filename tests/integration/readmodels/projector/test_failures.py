"""Events that cannot be handled: a projection stops there until an operator decides."""

from __future__ import annotations

import logging
import threading
from io import StringIO
from typing import Any
from uuid import uuid4

import pytest
from django.core.management import CommandError, call_command
from django.db import connections
from esdbclient import NewEvent, StreamState

from lepret.common.event_store_client import event_store_client
from loans.domain.events import AutoDenied, LoanRequested
from readmodels.models import Checkpoint, Failure, LoanRequest, LoanStatus, SkippedEvent, Status
from readmodels.projections import Projection
from readmodels.projector import failures
from readmodels.projector.batches import EventNotHandled
from readmodels.projector.rebuilding import RebuildStopped
from tests.support.loans import (
    AT,
    ZOE,
    append_a_loan_of_each_kind,
    append_event,
    append_requested_loan,
    recorded_loans,
)
from tests.support.processes import PATIENCE, wait_until
from tests.support.projectors import (
    LOANS,
    QUEUE,
    STATUS,
    CountingCoordinator,
    assert_read_models_tell_what_the_events_say,
    catch_up,
    failing,
    following,
    position_of,
    rebuild,
    rows,
    wait_for,
)
from tests.support.read_models import ReadModelsDatabase

pytestmark = pytest.mark.usefixtures("event_store", "read_models")

ID = "abcdef00-0000-4000-8000-000000000001"
WHY = "its amount was never ours"


def wait_until_stopped(projection: Projection = STATUS) -> Failure:
    wait_until(lambda: failures.is_stopped(projection.name), what="it is stopped")
    return Failure.objects.get(name=projection.name)


def stop_at_a_denial(projection: Projection = STATUS) -> int:
    """Have a projection stop at the second of three loans; returns the position."""
    append_requested_loan(score=9)
    position = append_requested_loan(score=1).position
    append_requested_loan(score=9)
    with following(failing(projection, on=AutoDenied)):
        wait_until_stopped(projection)
    return position


def position_before(position: int) -> int:
    before = [each.commit_position or 0 for each in event_store_client().read_all()]
    return max(each for each in before if each < position)


def project(*arguments: object) -> str:
    output = StringIO()
    call_command("project", *map(str, arguments), stdout=output)
    return output.getvalue()


class TestAPoisonEvent:
    def test_leaves_those_before_it_applied_and_nothing_of_itself(self) -> None:
        position = stop_at_a_denial()
        assert position_of(STATUS) == position_before(position)
        assert sorted(LoanStatus.objects.values_list("status", flat=True)) == [
            Status.APPROVED,
            Status.RECEIVED,
        ]

    def test_is_tried_again_a_few_times_first(self) -> None:
        position = append_requested_loan(score=1).position
        failing_attempts = iter([True] * (failures.MOST_ATTEMPTS - 1))
        passing = failing(STATUS, on=AutoDenied, fails=lambda: next(failing_attempts, False))
        with following(passing):
            wait_for(STATUS, position)
        assert LoanStatus.objects.get().status == Status.DENIED
        assert not Failure.objects.exists()

    def test_is_recorded_and_logged_without_personal_data(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level("DEBUG")
        position = stop_at_a_denial()
        (event,) = [e for e in event_store_client().read_all() if e.commit_position == position]

        failure = Failure.objects.get()
        assert (failure.name, failure.in_rebuild) == (STATUS.name, False)
        assert (failure.position, failure.event_id) == (position, event.id)
        assert (failure.event_type, failure.stream_name) == ("AutoDenied", event.stream_name)
        assert failure.attempts == failures.MOST_ATTEMPTS
        assert failure.error.startswith("ValueError at projectors.py:")

        (told,) = [each.getMessage() for each in caplog.records if each.levelno == logging.ERROR]
        assert f"loan_status cannot handle AutoDenied {event.id} at {position}: ValueError" in told
        assert "manage.py project --retry loan_status" in told
        assert f"manage.py project --skip {position} --why TEXT loan_status" in told
        said = [each for each in caplog.records if each.name.startswith("readmodels")]
        assert not ZOE.is_told_by("\n".join(each.getMessage() for each in said))
        assert not ZOE.is_told_by(str(list(Failure.objects.values())))

    def test_stops_the_projection_until_someone_says_how_to_go_on(self) -> None:
        position = stop_at_a_denial()
        before = rows(STATUS)
        coordinator = CountingCoordinator()

        with following(STATUS, coordinator=coordinator):  # As after a restart of the projector.
            wait_until(lambda: coordinator.count > 3)

        assert rows(STATUS) == before
        assert position_of(STATUS) < position
        assert Failure.objects.get().attempts == failures.MOST_ATTEMPTS

    def test_does_not_hold_back_the_other_projections(self) -> None:
        denied = append_requested_loan(score=1)
        with (
            following(failing(STATUS, on=LoanRequested)),
            following(LOANS),
            following(QUEUE),
        ):
            wait_for(LOANS, denied.position)
            wait_for(QUEUE, denied.position)
            wait_until_stopped()
            later = append_requested_loan(score=9)
            wait_for(LOANS, later.position)
            wait_for(QUEUE, later.position)
        assert LoanRequest.objects.get(id=denied.loan_request_id).status == Status.DENIED
        assert position_of(STATUS) == 0
        assert rows(STATUS) == []

    def test_whose_data_cannot_be_read_stops_all_who_take_its_type(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level("DEBUG", logger="readmodels")
        append_a_loan_of_each_kind()
        position = append_event("LoanRequested", f'{{"name": "{ZOE.name}"}}'.encode())
        later = append_a_loan_of_each_kind()
        with following(STATUS), following(LOANS), following(QUEUE):
            for each in (STATUS, LOANS):
                failure = wait_until_stopped(each)
                assert failure.position == position
                assert failure.error.startswith("ValidationError at")
            wait_for(QUEUE, later.position)
        assert position_of(STATUS) == position_of(LOANS) == position_before(position)
        assert not ZOE.is_told_by(caplog.text)

    @pytest.mark.parametrize(
        ("stream", "content_type"),
        [
            ("Shop:1", "application/json"),
            ("LoanRequest:1", "application/json"),
            (f"LoanRequest:{ID.upper()}", "application/json"),
            (f"LoanRequest:{ID}", "application/octet-stream"),
        ],
    )
    def test_of_another_application_is_passed_over(self, stream: str, content_type: Any) -> None:
        foreign = NewEvent(type="LoanRequested", data=b"{}", content_type=content_type)
        position = event_store_client().append_to_stream(
            stream, current_version=StreamState.ANY, events=foreign, timeout=PATIENCE
        )
        with following(STATUS), following(LOANS), following(QUEUE):
            for each in (STATUS, LOANS, QUEUE):
                wait_for(each, position)
        assert not Failure.objects.exists()
        assert rows(STATUS) == rows(LOANS) == rows(QUEUE) == []

    def test_that_the_database_refuses_is_found_among_the_others(
        self, read_models: ReadModelsDatabase
    ) -> None:
        append_a_loan_of_each_kind()
        position = append_what_is_refused(read_models)
        append_a_loan_of_each_kind()

        with following(LOANS):
            failure = wait_until_stopped(LOANS)

        assert (failure.position, failure.event_type) == (position, "LoanRequested")
        assert failure.error.split(" ")[0] in ("DataError", "OverflowError")
        assert position_of(LOANS) == position_before(position)
        assert LoanRequest.objects.count() == 5
        assert not ZOE.is_told_by(str(list(Failure.objects.values())))

    @pytest.mark.usefixtures("_keeps_signal_handlers")
    def test_ends_project_once_and_is_named_without_its_data(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level("DEBUG", logger="readmodels")
        position = append_event("LoanRequested", f'{{"name": "{ZOE.name}"}}'.encode())
        with pytest.raises(CommandError, match=f"LoanRequested .* at {position}") as failure:
            project("loan_status", "--once")
        assert not ZOE.is_told_by(caplog.text + str(failure.value))


def append_what_is_refused(database: ReadModelsDatabase) -> int:
    """Append a valid event with a value that is too large for a column of this database."""
    is_postgresql = connections[database.alias].vendor == "postgresql"
    event = LoanRequested(
        id=uuid4(),
        occurred_at=AT,
        name=ZOE.name + 300 * "x" if is_postgresql else ZOE.name,
        national_id=ZOE.national_id,
        amount=5000 if is_postgresql else 2**70,
    )
    return append_event("LoanRequested", event.model_dump_json().encode())


@pytest.mark.parametrize("read_models", ["sqlite"], indirect=True)
class TestRetrying:
    def test_has_the_projector_that_runs_go_on_after_a_fix(self) -> None:
        is_fixed = threading.Event()
        denied = append_requested_loan(score=1)
        with following(failing(STATUS, on=AutoDenied, fails=lambda: not is_fixed.is_set())):
            wait_until_stopped()
            last = append_requested_loan(score=9)
            is_fixed.set()
            assert project("--retry", "loan_status") == (
                "loan_status: tried again by the projector that runs.\n"
            )
            wait_for(STATUS, last.position)
        assert LoanStatus.objects.get(id=denied.loan_request_id).status == Status.DENIED
        assert {each.id for each in LoanStatus.objects.all()} == recorded_loans().keys()
        assert not Failure.objects.exists()

    def test_without_a_fix_ends_where_it_was(self) -> None:
        position = append_requested_loan(score=1).position
        with following(failing(STATUS, on=AutoDenied)):
            first = wait_until_stopped()
            project("--retry", "loan_status")
            second = wait_until_stopped()
        assert (first.position, second.position) == (position, position)
        assert second.attempts == failures.MOST_ATTEMPTS
        assert second.failed_at > first.failed_at


@pytest.mark.parametrize("read_models", ["sqlite"], indirect=True)
class TestSkipping:
    def test_leaves_the_event_out_in_the_projector_that_runs(self) -> None:
        denied = append_requested_loan(score=1)
        with following(failing(STATUS, on=AutoDenied)):
            wait_until_stopped()
            last = append_requested_loan(score=9)
            output = project("--skip", denied.position, "--why", WHY, "--by", "rita")
            assert output == f"loan_status: goes on without {denied.position}.\n"
            wait_for(STATUS, last.position)
        assert LoanStatus.objects.get(id=denied.loan_request_id).status == Status.RECEIVED
        assert LoanStatus.objects.get(id=last.loan_request_id).status == Status.APPROVED
        assert not Failure.objects.exists()

    def test_is_kept_with_who_and_why(self) -> None:
        position = stop_at_a_denial()
        failure = Failure.objects.get()
        project("--skip", position, "--why", f" {WHY} ", "--by", "rita", "loan_status")
        skipped = SkippedEvent.objects.get()
        assert (skipped.name, skipped.position) == (STATUS.name, position)
        assert (skipped.event_id, skipped.event_type) == (failure.event_id, "AutoDenied")
        assert (skipped.error, skipped.why) == (failure.error, WHY)
        assert skipped.skipped_by == "rita"

    def test_is_recorded_with_the_login_if_nobody_else_is_named(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("LOGNAME", "lena")
        project("--skip", stop_at_a_denial(), "--why", WHY)
        assert SkippedEvent.objects.get().skipped_by == "lena"

    def test_is_for_good_also_in_a_rebuild(self) -> None:
        project("--skip", stop_at_a_denial(), "--why", WHY)
        broken = failing(STATUS, on=AutoDenied)
        catch_up(broken)
        before = rows(STATUS)

        rebuild(broken)

        assert rows(STATUS) == before
        assert {each["status"] for each in before} == {Status.APPROVED, Status.RECEIVED}

    def test_is_for_the_projection_that_is_named_only(self) -> None:
        position = append_event("LoanRequested")
        with following(STATUS), following(LOANS):
            wait_until_stopped(STATUS)
            wait_until_stopped(LOANS)
        project("--skip", position, "--why", WHY, "loan_status")
        assert not failures.is_stopped(STATUS.name)
        assert failures.is_stopped(LOANS.name)

    def test_is_for_all_that_are_stopped_there_if_none_is_named(self) -> None:
        position = append_event("LoanRequested")
        last = append_a_loan_of_each_kind()
        with following(STATUS), following(LOANS), following(QUEUE):
            wait_until_stopped(STATUS)
            wait_until_stopped(LOANS)
            output = project("--skip", position, "--why", WHY)
            assert output == f"loan_requests, loan_status: goes on without {position}.\n"
            for each in (STATUS, LOANS, QUEUE):
                wait_for(each, last.position)
        assert {each.id for each in LoanStatus.objects.all()} == {
            each.id for each in LoanRequest.objects.all()
        }


class TestARebuild:
    def test_stops_at_a_poison_event_and_leaves_the_live_rows_alone(self) -> None:
        position = append_requested_loan(score=1).position
        append_a_loan_of_each_kind()
        catch_up()
        before = rows(), Checkpoint.objects.get(name=STATUS.name).position

        with pytest.raises(RebuildStopped, match=f"AutoDenied .* at {position}: ValueError") as it:
            rebuild(failing(STATUS, on=AutoDenied))

        assert not ZOE.is_told_by(str(it.value))
        failure = Failure.objects.get()
        assert (failure.in_rebuild, failure.position) == (True, position)
        assert failure.attempts == failures.MOST_ATTEMPTS
        assert (rows(), position_of(STATUS)) == before
        # The live rows go on.
        with following(STATUS):
            wait_for(STATUS, append_requested_loan().position)

    def test_goes_on_where_it_stopped_after_a_fix(self) -> None:
        append_a_loan_of_each_kind()
        catch_up()
        is_fixed = threading.Event()
        broken = failing(STATUS, on=AutoDenied, fails=lambda: not is_fixed.is_set())
        with pytest.raises(RebuildStopped):
            rebuild(broken)
        is_fixed.set()
        project("--retry", "loan_status")

        rebuild(broken)

        assert_read_models_tell_what_the_events_say()
        assert Checkpoint.objects.get(name=STATUS.name).builds == 1
        assert not Failure.objects.exists()

    def test_goes_on_without_the_event_that_is_skipped(self) -> None:
        position = append_requested_loan(score=1).position
        catch_up()
        broken = failing(STATUS, on=AutoDenied)
        with pytest.raises(RebuildStopped):
            rebuild(broken)
        project("--skip", position, "--why", WHY)

        rebuild(broken)

        assert LoanStatus.objects.get().status == Status.RECEIVED
        assert Checkpoint.objects.get(name=STATUS.name).builds == 1

    def test_that_succeeds_lets_the_live_rows_go_on(self) -> None:
        """As with a new version that can handle the event."""
        stop_at_a_denial()
        with following(STATUS):
            rebuild(STATUS)
            assert not Failure.objects.exists()
            wait_for(STATUS, append_requested_loan().position)
        catch_up()
        assert_read_models_tell_what_the_events_say()


def test_catching_up_once_raises_the_first_failure() -> None:
    position = append_requested_loan(score=1).position
    with pytest.raises(EventNotHandled) as failure:
        catch_up(failing(STATUS, on=AutoDenied))
    assert failure.value.received.position == position
    assert not Failure.objects.exists()
