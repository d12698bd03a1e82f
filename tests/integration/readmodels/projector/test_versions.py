"""Events that a newer version has written, and failures that another version has recorded."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from esdbclient import NewEvent, StreamState

from lepret.common.event_store_client import event_store_client
from loans.adapters import codec
from loans.domain.events import AutoDenied, LoanRequested
from readmodels.models import Checkpoint, Failure, LoanStatus, Status
from readmodels.monitoring.status import State, read_statuses
from readmodels.projections import PROJECTIONS, Projection
from readmodels.projector import failures
from readmodels.projector.batches import NewerEvent
from readmodels.projector.coordination.coordinator import LockCoordinator
from readmodels.projector.rebuilding import RebuildStopped, needs_rebuild
from tests.support.loans import append_requested_loan
from tests.support.newer_version import append_newer, append_newer_request
from tests.support.processes import wait_until
from tests.support.projectors import (
    DOUBLING,
    PARKED_CHECKS,
    QUEUE,
    STATUS,
    CountingCoordinator,
    assert_read_models_tell_what_the_events_say,
    catch_up,
    failing,
    following,
    new_rebuilder,
    position_of,
    rebuild,
    rebuilding_when_needed,
    wait_for,
)

pytestmark = pytest.mark.usefixtures("event_store", "read_models")


def become_newer(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on this process can read the second schema of `LoanRequested`."""

    def read(data: bytes) -> LoanRequested:
        fields = json.loads(data)
        return LoanRequested.model_validate({"amount": fields.get("sum"), **fields})

    monkeypatch.setattr(LoanRequested, "SCHEMA_VERSION", 2)
    monkeypatch.setattr(LoanRequested, "model_validate_json", read)
    monkeypatch.setitem(codec.UPCASTERS, ("LoanRequested", 1), lambda data: data)
    be_version("newer", monkeypatch)


def be_version(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failures, "fingerprint", lambda: name)


def wait_until_waiting(projection: Projection = STATUS) -> None:
    def waits() -> bool:
        return read_statuses()[projection.name].state is State.WAITING

    wait_until(waits, what=f"{projection.name} waits")


class TestAnEventOfANewerSchema:
    def test_is_waited_for_without_a_failure(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO, logger="readmodels")
        before = append_requested_loan(score=9)
        position = append_newer_request()
        with following(STATUS):
            wait_until_waiting()
        status = read_statuses()[STATUS.name]
        assert status.failure is None
        assert status.waiting is not None
        assert (status.waiting.position, status.waiting.schema_version) == (position, 2)
        assert status.trouble(max_lag_seconds=3600) == ""
        assert "waiting at" in status.trouble(max_lag_seconds=-1)
        assert LoanStatus.objects.get().id == before.loan_request_id
        (told,) = [each.getMessage() for each in caplog.records if each.levelno > logging.INFO]
        assert f"at {position} was written by a newer version of the program (schema 2)" in told

    def test_does_not_hold_up_projections_that_do_not_take_its_type(self) -> None:
        append_newer_request()
        later = append_requested_loan(score=5).position
        catch_up(QUEUE, PARKED_CHECKS)
        assert position_of(QUEUE) == position_of(PARKED_CHECKS) == later
        with pytest.raises(NewerEvent):
            catch_up(STATUS)

    def test_is_read_when_a_newer_version_comes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        position = append_newer_request()
        with following(STATUS):
            wait_until_waiting()
        become_newer(monkeypatch)
        with following(STATUS):
            wait_for(STATUS, position)
            wait_until(lambda: not Failure.objects.exists())
        assert LoanStatus.objects.get().amount == 7

    def test_that_another_projector_gets_past_is_waited_for_no_longer(self) -> None:
        append_newer_request()
        with following(STATUS):
            wait_until_waiting()
            position = Failure.objects.get().position
            Checkpoint.objects.filter(name=STATUS.name).update(position=position)
            wait_for(STATUS, append_requested_loan().position)
            wait_until(lambda: not Failure.objects.exists())

    def test_can_be_skipped(self) -> None:
        position = append_newer_request()
        with following(STATUS):
            wait_until_waiting()
            failures.skip(position, names=[STATUS.name], why="going back", by="olga")
            wait_for(STATUS, append_requested_loan().position)


class TestAnEventOfANewerType:
    def test_is_waited_for_by_all_since_any_may_take_it(self) -> None:
        append_newer("LoanPaidBack", 1)
        for projection in PROJECTIONS.values():
            with pytest.raises(NewerEvent):
                catch_up(projection)

    def test_in_a_stream_of_others_is_passed_over(self) -> None:
        event = NewEvent(type="LoanPaidBack", data=b"{}", metadata=b'{"schemaVersion": 1}')
        position = event_store_client().append_to_stream(
            "Shop:1", current_version=StreamState.ANY, events=[event]
        )
        catch_up()
        assert position_of(STATUS) == position


class TestAFailure:
    def test_of_another_version_is_tried_again(self, monkeypatch: pytest.MonkeyPatch) -> None:
        position = append_requested_loan(score=1).position
        with following(failing(STATUS, on=AutoDenied)):
            wait_until(lambda: failures.is_stopped(STATUS.name))
        be_version("newer", monkeypatch)
        with following(STATUS):
            wait_for(STATUS, position)
            wait_until(lambda: not Failure.objects.exists())
        assert LoanStatus.objects.get().status == Status.DENIED

    def test_of_a_version_that_did_not_note_itself_is_tried_again(self) -> None:
        position = append_requested_loan(score=1).position
        with following(failing(STATUS, on=AutoDenied)):
            wait_until(lambda: failures.is_stopped(STATUS.name))
        Failure.objects.update(tried_by=None)
        with following(STATUS):
            wait_for(STATUS, position)

    def test_is_tried_once_by_each_version_in_whatever_order_they_come(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        append_requested_loan(score=1)
        poison = failing(STATUS, on=AutoDenied)
        for name in ("a", "b"):
            be_version(name, monkeypatch)
            with following(poison):
                wait_until(lambda: failures.is_stopped(STATUS.name))
        assert Failure.objects.get().tried_by == ["a", "b"]
        failed_at = Failure.objects.get().failed_at

        for name in ("a", "b"):
            be_version(name, monkeypatch)
            coordinator = CountingCoordinator()
            with following(poison, coordinator=coordinator):
                wait_until(lambda: coordinator.count > 3)  # noqa: B023 (runs at once)
        assert Failure.objects.get().failed_at == failed_at

    def test_of_the_newer_version_is_not_hidden_by_the_older_one_that_waits(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        append_newer_request()
        with monkeypatch.context() as newer:
            become_newer(newer)
            with following(failing(STATUS, on=LoanRequested)):
                wait_until(lambda: failures.is_stopped(STATUS.name))
        with following(STATUS):
            wait_until(lambda: failures.is_stopped(STATUS.name))
        status = read_statuses()[STATUS.name]
        assert status.state is State.STOPPED
        assert status.failure is not None
        assert status.failure.error.startswith("ValueError at projectors.py:")


@pytest.mark.parametrize("read_models", ["postgresql"], indirect=True)
class TestProjectorsThatShareTheProjections:
    @pytest.fixture(autouse=True)
    def _each_is_of_another_version(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(failures, "fingerprint", lambda: threading.current_thread().name)

    def test_hand_over_one_that_has_stopped(self) -> None:
        position = append_requested_loan(score=1).position
        with sharing(failing(STATUS, on=AutoDenied)):
            wait_until(Failure.objects.exists)
            with sharing(STATUS):
                wait_for(STATUS, position)
            # The one that had failed goes on, too.
            wait_for(STATUS, append_requested_loan(score=9).position)
        assert not Failure.objects.exists()

    def test_hand_over_one_whose_rows_are_newer(self) -> None:
        with sharing(STATUS):
            wait_for(STATUS, append_requested_loan().position)
            rebuild(DOUBLING)
            with sharing(DOUBLING):
                answer = append_requested_loan()
                wait_for(STATUS, answer.position)
        assert LoanStatus.objects.get(id=answer.loan_request_id).amount == 10_000

    def test_leave_one_to_the_newer_version_for_as_long_as_that_runs(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO, logger="readmodels")
        position = append_newer_request()
        with sharing(STATUS):
            wait_until_waiting()
            with sharing(reading_everything(STATUS)):
                wait_for(STATUS, position)
                for _ in range(3):
                    wait_for(STATUS, append_newer_request())
                assert caplog.messages.count("loan_status is run here") == 2
            wait_for(STATUS, append_requested_loan().position)
        assert caplog.messages.count("loan_status is run here") == 3


@contextmanager
def sharing(projection: Projection) -> Iterator[None]:
    """Run a projector of one projection, which shares it with others, during the block."""
    with (
        LockCoordinator([projection.name]) as coordinator,
        following(projection, coordinator=coordinator),
    ):
        yield


def reading_everything(projection: Projection) -> Projection:
    """The projection of a newer version, which takes no `LoanRequested` any more."""
    takes = projection.takes - {LoanRequested.__name__}
    newer = replace(projection)
    newer.__dict__["takes"] = takes
    return newer


class TestARebuild:
    def test_waits_for_a_newer_version_which_goes_on_with_it(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        append_requested_loan()
        catch_up(STATUS)
        append_newer_request()
        with pytest.raises(RebuildStopped, match="written by a newer version"):
            rebuild(STATUS)
        assert Failure.objects.get().in_rebuild

        become_newer(monkeypatch)
        rebuild(STATUS)
        assert not Failure.objects.exists()
        assert LoanStatus.objects.filter(amount=7).exists()

    def test_to_the_older_version_leaves_out_what_only_a_newer_one_can_read(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        go_back_without_a_newer_request()
        assert LoanStatus.objects.count() == 1
        assert not needs_rebuild(STATUS)
        assert not read_statuses()[STATUS.name].waiting
        catch_up(STATUS)

        become_newer(monkeypatch)
        assert needs_rebuild(STATUS)
        with rebuilding_when_needed(STATUS):
            wait_until(lambda: LoanStatus.objects.count() == 2)
        assert not needs_rebuild(STATUS)
        catch_up(*(each for each in PROJECTIONS.values() if each is not STATUS))
        assert_read_models_tell_what_the_events_say()

    def test_that_was_interrupted_is_not_resumed_by_a_version_that_can_read_more(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        append_newer_request()
        rebuilder = new_rebuilder(STATUS, to_older=True, advanced=interrupt)
        with pytest.raises(KeyboardInterrupt):
            rebuilder.run()

        become_newer(monkeypatch)
        rebuild(STATUS)
        assert LoanStatus.objects.get().amount == 7


def interrupt(_: object) -> None:
    raise KeyboardInterrupt


def go_back_without_a_newer_request() -> None:
    append_requested_loan()
    append_newer_request()
    with following(STATUS):
        wait_until_waiting()
    new_rebuilder(STATUS, to_older=True).run()
