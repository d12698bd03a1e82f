"""Workers that score requests later, as real processes that are killed and stopped."""

from __future__ import annotations

import random
import re
import time
from pathlib import Path
from typing import Final
from uuid import UUID, uuid4

import pytest
from django.core.management import CommandError, call_command
from esdbclient import NewEvent, StreamState

from lepret.common.event_store_client import event_store_client
from loans.adapters import codec
from loans.domain.events import CreditCheckParked
from loans.workers.credit_checks import CREDIT_CHECKS
from tests.support.event_store import RunningEventStore
from tests.support.loans import ZOE, append_requested_loan
from tests.support.newer_version import append_newer_request, newer_version_in
from tests.support.processes import wait_until
from tests.support.replaced_stores import backed_up, replace_store
from tests.support.workers import (
    Ports,
    Workers,
    append_deferred,
    checked_count,
    forks_for_workers,
    parked_count,
    types_of,
    wait_until_checked,
    wait_until_ready,
)

OUTCOMES: Final = {"AutoApproved", "AutoDenied", "ManualReviewRequired"}
ONE_ANSWER: Final = {"asked": 1, "answered": 1}

KILLS: Final = 12
REQUESTS_PER_KILL: Final = 10
THREADS: Final = 4


@pytest.mark.flaky(reruns=0)
class TestWorkersThatAreKilled:
    def test_decide_each_request_once_and_lose_none(self, workers: Workers) -> None:
        """Whenever workers are killed, each request gets one score and one outcome.

        The credit bureau answers once for each request, unless a worker is killed between getting
        the answer and recording it. Then it is asked again, with the same key. Each killed worker
        can cause that once in each of its threads.
        """
        chance = random.Random(20261123)
        ids: list[UUID] = []
        misbehaving = ("--failure-rate=0.25", "--garbage-rate=0.1", "--latency=0.02", "--seed=1")
        with workers.credit_bureau(*misbehaving) as credit_bureau:
            running = [workers.check_credit(f"--threads={THREADS}") for _ in range(3)]
            wait_until_ready(*running)
            for _ in range(KILLS):
                ids += append_deferred(REQUESTS_PER_KILL)
                wait_for_progress()
                time.sleep(chance.uniform(0, 0.1))  # A random moment of its work.
                running.pop(chance.randrange(len(running))).kill()
                running.append(workers.check_credit(f"--threads={THREADS}"))
            wait_until_checked(ids)
            assert [each.stop() for each in running] == [0, 0, 0]
            asks = credit_bureau.asks()

        assert_each_was_decided_once(ids)
        assert parked_count(CREDIT_CHECKS) == 0
        assert asks.keys() == {str(each) for each in ids}
        answered = [each["answered"] for each in asks.values()]
        assert min(answered) == 1
        assert sum(answered) <= len(ids) + KILLS * THREADS


class TestWorkersWhoseEventStoreIsReplaced:
    """How far their group is, is kept in the store itself, and goes back with it."""

    def test_by_an_older_state_score_what_was_recorded_since(
        self, workers: Workers, event_store: RunningEventStore
    ) -> None:
        with workers.credit_bureau():
            worker = workers.check_credit()
            before = append_deferred(3)
            wait_until_checked(before)
            older = backed_up(event_store, "older")
            wait_until_checked(before + append_deferred(3))

            replace_store(event_store, older)

            wait_until_checked(before + append_deferred(5))
            assert worker.stop() == 0

    def test_by_another_one_make_their_group_there(
        self, workers: Workers, event_store: RunningEventStore
    ) -> None:
        with workers.credit_bureau():
            worker = workers.check_credit()
            wait_until_checked(append_deferred(3))

            replace_store(event_store, None)

            wait_until_checked(append_deferred(5))
            assert worker.stop() == 0


class TestWorkersThatAreNotKilled:
    def test_share_the_work_and_are_answered_once_for_each_request(self, workers: Workers) -> None:
        with workers.credit_bureau("--latency=1") as credit_bureau:
            running = [workers.check_credit(f"--threads={THREADS}") for _ in range(2)]
            wait_until_ready(*running)
            ids = append_deferred(5 * THREADS)
            # More requests than one worker has threads: both are at work.
            wait_until(lambda: credit_bureau.in_flight() > THREADS, every=0.01)
            wait_until_checked(ids)
            assert [each.stop() for each in running] == [0, 0]
            asks = credit_bureau.asks()

        assert_each_was_decided_once(ids)
        assert asks == {str(each): ONE_ANSWER for each in ids}

    def test_handle_events_from_before_they_started(self, workers: Workers) -> None:
        ids = append_deferred(3)
        scored = append_requested_loan(9).loan_request_id
        with workers.credit_bureau() as credit_bureau:
            worker = workers.check_credit()
            wait_until_checked([*ids, scored])
            assert worker.stop() == 0
            asks = credit_bureau.asks()

        assert types_of(scored) == ["LoanRequested", "CreditChecked", "AutoApproved"]
        assert asks.keys() == {str(each) for each in ids}
        assert worker.output == "check_credit is ready\n", "nothing else is printed"

    def test_finish_running_checks_when_they_are_stopped(self, workers: Workers) -> None:
        with workers.credit_bureau("--latency=0.5") as credit_bureau:
            worker = workers.check_credit(f"--threads={THREADS}")
            wait_until_ready(worker)
            # Enough that they are not all answered before a busy machine stops the worker.
            ids = append_deferred(10 * THREADS)
            wait_until(credit_bureau.asks, every=0.01)
            assert worker.stop() == 0
            begun = checked_count()
            workers.check_credit(f"--threads={len(ids)}")
            wait_until_checked(ids)
            asks = credit_bureau.asks()

        assert 0 < begun < len(ids)
        assert_each_was_decided_once(ids)
        assert asks == {str(each): ONE_ANSWER for each in ids}


class TestACheckThatKeepsFailing:
    def test_is_parked_with_the_reason_and_decided_once_it_is_replayed(
        self, workers: Workers, capsys: pytest.CaptureFixture[str]
    ) -> None:
        worker = workers.check_credit("--retries=2", "--longest-delay=0.1")
        wait_until_ready(worker)
        loan_request_id = append_requested_loan(None).loan_request_id
        wait_until(lambda: parked_count(CREDIT_CHECKS) == 1)
        _, parked = event_store_client().get_stream(codec.stream_name(loan_request_id))
        with workers.credit_bureau():
            call_command("check_credit", "--replay-parked")
            wait_until_checked([loan_request_id])
        wait_until(lambda: parked_count(CREDIT_CHECKS) == 0)

        assert capsys.readouterr().out.splitlines() == [
            "credit-checks: 1 parked to be tried anew.",
            "losses: 0 parked to be tried anew.",
        ]
        event = codec.decode(parked.type, parked.data, parked.metadata)
        assert isinstance(event, CreditCheckParked)
        assert event.attempts >= 3
        assert f"Parked the credit check of {loan_request_id} ({event.reason})" in worker.output
        assert not ZOE.is_told_by(worker.output + event.reason)
        assert types_of(loan_request_id)[1:3] == ["CreditCheckParked", "CreditChecked"]


class TestAnEventThatCannotBeHandled:
    def test_does_not_hold_up_others_and_is_parked(self, workers: Workers) -> None:
        poison = uuid4()
        append_requested(codec.stream_name(poison), b'{"name": "Zoe Quillfeather"}')
        append_requested("NotOfALoan", b"{}")  # Of another application, and so passed over.
        ids = append_deferred(5)
        with workers.credit_bureau():
            worker = workers.check_credit("--threads=1", "--retries=2", "--longest-delay=0.2")
            wait_until_checked(ids)
            wait_until(lambda: parked_count(CREDIT_CHECKS) == 1)
            wait_until_checked([*ids, *append_deferred(1)])
            assert worker.stop() == 0

        assert types_of(poison) == ["LoanRequested"]
        assert re.search(r"Could not handle LoanRequested at \d+: ValidationError", worker.output)
        assert not ZOE.is_told_by(worker.output)


class TestAnEventOfANewerVersion:
    def test_is_left_to_a_worker_of_that_version(
        self, workers: Workers, ports: Ports, tmp_path: Path
    ) -> None:
        loan_request_id = uuid4()
        append_newer_request(loan_request_id)
        older = workers.check_credit("--retries=1")
        left = "Left LoanRequested at"
        wait_until(lambda: older.output.count(left) > 3, what="it is left")
        assert parked_count(CREDIT_CHECKS) == 0

        (tmp_path / "newer").mkdir()
        project = newer_version_in(tmp_path / "newer")
        with forks_for_workers(ports, tmp_path, project) as forks, workers.credit_bureau():
            newer = Workers(forks, ports)
            newer.check_credit()
            wait_until(lambda: len(types_of(loan_request_id)) > 1, what="it is scored")
        assert types_of(loan_request_id)[:2] == ["LoanRequested", "CreditChecked"]
        assert parked_count(CREDIT_CHECKS) == 0


class TestWhileTheEventStoreIsDown:
    def test_they_wait_and_go_on_when_it_is_back(
        self, workers: Workers, event_store: RunningEventStore
    ) -> None:
        with workers.credit_bureau():
            worker = workers.check_credit()
            wait_until_ready(worker)
            event_store.kill()
            wait_until(lambda: "Lost the event store" in worker.output)
            event_store.restart()
            wait_until(lambda: "Regained the event store" in worker.output)
            wait_until_checked(append_deferred(5))
            assert worker.stop() == 0

        # Once for each group that the process takes part in.
        assert worker.output.count("Lost the event store") == 2
        assert "Traceback" not in worker.output

    def test_they_can_be_started_and_stopped(
        self, workers: Workers, event_store: RunningEventStore
    ) -> None:
        event_store.stop()
        worker, other = workers.check_credit(), workers.check_credit()
        wait_until(lambda: "Lost the event store" in worker.output)
        assert other.stop() == 0
        assert "is ready" not in worker.output
        event_store.restart()
        wait_until_ready(worker)
        assert worker.stop() == 0
        assert "Traceback" not in worker.output + other.output


class TestReplayParked:
    @pytest.mark.usefixtures("event_store")
    def test_fails_if_there_is_no_group(self) -> None:
        with pytest.raises(CommandError, match="no group credit-checks-"):
            call_command("check_credit", "--replay-parked")

    @pytest.mark.usefixtures("no_event_store")
    def test_fails_if_the_event_store_is_down(self) -> None:
        with pytest.raises(CommandError, match="The event store is away"):
            call_command("check_credit", "--replay-parked")


class TestOptions:
    @pytest.mark.parametrize(
        "option",
        ["--retries=0", "--retries=x", "--threads=-1", "--longest-delay=0", "--longest-delay=601"],
    )
    def test_that_make_no_sense_are_refused(self, option: str) -> None:
        with pytest.raises(CommandError, match="is not a"):
            call_command("check_credit", option)


def append_requested(stream_name: str, data: bytes) -> None:
    """Append an event of the type `LoanRequested` with any data."""
    event_store_client().append_to_stream(
        stream_name,
        current_version=StreamState.NO_STREAM,
        events=[NewEvent(type="LoanRequested", data=data)],
    )


def wait_for_progress() -> None:
    before = checked_count()
    wait_until(lambda: checked_count() > before, every=0.01)


def assert_each_was_decided_once(ids: list[UUID]) -> None:
    for loan_request_id in ids:
        requested, checked, outcome = types_of(loan_request_id)
        assert (requested, checked) == ("LoanRequested", "CreditChecked")
        assert outcome in OUTCOMES
