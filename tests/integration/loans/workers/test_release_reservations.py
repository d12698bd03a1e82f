"""Workers that release reservations, as real processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID, uuid4

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone
from esdbclient import RecordedEvent

from lepret.common.event_store_client import event_store_client
from loans.adapters import codec
from loans.adapters.credit_bureau import CreditBureau
from loans.application import use_cases
from loans.application.policies import Policies
from loans.application.use_cases import Answer
from loans.dependencies import event_store as loans_store
from loans.dependencies import reservations
from loans.domain.commands import ApproveLoan, RequestLoan
from loans.domain.credit_report import CreditReport
from loans.domain.loan_request import AlreadyDecided, Status
from loans.domain.reservation import OpenRequestExists
from loans.workers.known_releases import KnownReleases
from tests.support.event_store import RunningEventStore
from tests.support.fakes import FakeCreditBureau
from tests.support.interleaving import Killed
from tests.support.loans import append_approval
from tests.support.processes import PATIENCE, PROJECT, wait_until
from tests.support.workers import Workers, events_by_stream, types_of, wait_until_ready

ANN: Final = "123456aa"

DECISIONS: Final = {"AutoApproved", "AutoDenied", "ManuallyApproved", "ManuallyDenied"}

PROCESSES: Final = 2
REQUESTS_PER_PROCESS: Final = 500
PEOPLE: Final = 100
THREADS: Final = 8

pytestmark = pytest.mark.flaky(reruns=0)


def request(
    credit_bureau: CreditBureau,
    *,
    national_id: str = ANN,
    loan_request_id: UUID | None = None,
    at: datetime | None = None,
    lapse_after_seconds: float | None = None,
) -> Answer:
    command = RequestLoan(
        id=loan_request_id or uuid4(),
        issued_at=at or timezone.now(),
        name="Ann Example",
        national_id=national_id,
        amount=5000,
    )
    return use_cases.request_loan(
        command,
        event_store=loans_store(),
        policies=Policies(loans_store()),
        credit_bureau=credit_bureau,
        reservations=reservations(lapse_after_seconds=lapse_after_seconds),
    )


class Meanwhile:
    """A credit bureau that lets something else happen before it answers."""

    def __init__(self, happens: Callable[[], object]) -> None:
        self._happens = happens

    def report(self, national_id: str, *, idempotency_key: UUID) -> CreditReport:
        self._happens()
        return CreditReport(score=5)


def die() -> None:
    raise Killed


def anns_events() -> list[str]:
    """The types of the events of Ann's reservation."""
    stream = reservations().stream_of(ANN)
    return [event.type for event in event_store_client().get_stream(stream.name)]


def wait_until_released(count: int = 1) -> None:
    wait_until(lambda: anns_events().count("ReservationReleased") >= count, every=0.02)


class TestARequestThatIsDecided:
    def test_releases_its_reservation_at_once(self, workers: Workers) -> None:
        worker = workers.release_reservations()
        wait_until_ready(worker)
        request(FakeCreditBureau(9))
        wait_until_released()
        append_approval(request(FakeCreditBureau(5)).loan_request_id)
        wait_until_released(2)
        assert worker.stop() == 0

        assert anns_events() == ["ReservationTaken", "ReservationReleased"] * 2
        assert worker.output == "release_reservations is ready\n"

    def test_releases_it_also_if_no_worker_ran_at_that_time(self, workers: Workers) -> None:
        killed = workers.release_reservations()
        wait_until_ready(killed)
        killed.kill()
        append_approval(request(FakeCreditBureau(5)).loan_request_id)
        assert anns_events() == ["ReservationTaken"]
        workers.release_reservations()
        wait_until_released()

    def test_does_not_affect_an_open_request(self, workers: Workers) -> None:
        worker = workers.release_reservations(lapse_after=0.1)
        kept = request(FakeCreditBureau(5)).loan_request_id
        # The worker handles this reservation after the other one: once it lapses, both are done.
        with pytest.raises(Killed):
            request(Meanwhile(die), national_id="654321bb")
        wait_until(lambda: events_by_stream("ApplicationLapsed"))
        assert worker.stop() == 0

        assert anns_events() == ["ReservationTaken"]
        assert types_of(kept)[-1] == "ManualReviewRequired"
        with pytest.raises(OpenRequestExists):
            request(FakeCreditBureau(5))


class TestARequestThatIsNeverRecorded:
    def test_lapses_and_the_applicant_may_apply_again(self, workers: Workers) -> None:
        lost = uuid4()
        with pytest.raises(Killed):
            request(Meanwhile(die), loan_request_id=lost)
        with pytest.raises(OpenRequestExists):
            request(FakeCreditBureau(5))
        workers.release_reservations(lapse_after=0.1)
        wait_until_released()

        assert types_of(lost) == ["ApplicationLapsed"]
        assert request(FakeCreditBureau(5)).status is Status.UNDER_REVIEW

    def test_may_itself_be_made_again(self, workers: Workers) -> None:
        lost = uuid4()
        with pytest.raises(Killed):
            request(Meanwhile(die), loan_request_id=lost)
        workers.release_reservations(lapse_after=0.1)
        wait_until_released()
        request(FakeCreditBureau(9), loan_request_id=lost)
        wait_until_released(2)

        assert types_of(lost)[0] == "ApplicationLapsed"
        assert types_of(lost)[-1] == "AutoApproved"

    def test_is_refused_if_it_comes_too_late_after_all(self, workers: Workers) -> None:
        """As if its process had paused between taking the reservation and recording."""
        workers.release_reservations(lapse_after=0.1)
        late = uuid4()

        def lapses_and_another_is_made() -> None:
            wait_until_released()
            request(FakeCreditBureau(5))

        with pytest.raises(OpenRequestExists):
            request(Meanwhile(lapses_and_another_is_made), loan_request_id=late)

        assert types_of(late) == ["ApplicationLapsed"]
        assert most_open_at_once(loan_events()) == 1

    @pytest.mark.parametrize("days", [-1, 1])
    def test_lapses_whatever_the_clocks_of_other_machines_say(
        self, event_store: RunningEventStore, days: int
    ) -> None:
        """Both that of the server that died and that of the worker."""
        wrong = timedelta(days=days)
        with pytest.raises(Killed):
            request(Meanwhile(die), at=timezone.now() + wrong)
        with worker_with_clock(event_store, ahead=-wrong):
            wait_until_released()

        assert request(FakeCreditBureau(5)).status is Status.UNDER_REVIEW

    @pytest.mark.parametrize("days", [-1, 1])
    @pytest.mark.usefixtures("event_store")
    def test_lapses_without_a_worker_too(self, days: int) -> None:
        with pytest.raises(Killed):
            request(Meanwhile(die), at=timezone.now() + timedelta(days=days))
        with pytest.raises(OpenRequestExists):
            request(FakeCreditBureau(5))

        def accepted() -> bool:
            with suppress(OpenRequestExists):
                return bool(request(FakeCreditBureau(5), lapse_after_seconds=1.0))
            return False

        wait_until(accepted)


@pytest.mark.usefixtures("event_store")
class TestKnownReleases:
    def test_are_read_from_the_event_store(self) -> None:
        for number in range(5):
            request(FakeCreditBureau(9), national_id=f"10000{number}aa")  # Decided, and released.
        request(FakeCreditBureau(5))
        taken = [
            event
            for event in event_store_client().read_all(filter_include=["ReservationTaken"])
            if codec.is_reservation_event(event)
        ]
        known = KnownReleases(event_store_client, read_at_once=2)
        assert [known.include(each) for each in taken] == [True] * 5 + [False]


class TestAThousandRequestsAtTheSameTime:
    def test_leave_nobody_with_more_than_one_open_at_any_moment(
        self, event_store: RunningEventStore, workers: Workers
    ) -> None:
        """Several processes apply for a hundred people, while requests are decided.

        At no point in commit order does a person have two requests that are not decided.
        """
        worker = workers.release_reservations()
        wait_until_ready(worker)
        processes = [apply_in_a_process(event_store, seed) for seed in range(PROCESSES)]
        with underwriter():
            outcomes = sum((outcomes_of(each) for each in processes), Counter())
        assert worker.stop() == 0

        events = loan_events()
        assert most_open_at_once(events) == 1
        assert sum(outcomes.values()) == PROCESSES * REQUESTS_PER_PROCESS
        assert outcomes["accepted"] == sum(each.type == "LoanRequested" for each in events)
        assert outcomes["accepted"] > PEOPLE, "some have applied again"
        assert outcomes["refused"] > PEOPLE
        assert any(each.type == "ManuallyApproved" for each in events)
        assert "Could not" not in worker.output


class TestReplayParked:
    def test_prints_how_many(self, workers: Workers, capsys: pytest.CaptureFixture[str]) -> None:
        wait_until_ready(workers.release_reservations())
        call_command("release_reservations", "--replay-parked")

        assert capsys.readouterr().out.splitlines() == [
            "reservation-releases: 0 parked to be tried anew.",
            "reservation-lapses: 0 parked to be tried anew.",
            "reservation-losses: 0 parked to be tried anew.",
            "losses: 0 parked to be tried anew.",
        ]

    @pytest.mark.usefixtures("event_store")
    def test_fails_if_there_is_no_group(self) -> None:
        with pytest.raises(CommandError, match="no group reservation-releases"):
            call_command("release_reservations", "--replay-parked")


def apply_in_a_process(event_store: RunningEventStore, seed: int) -> subprocess.Popen[str]:
    arguments = (seed, REQUESTS_PER_PROCESS, PEOPLE, THREADS)
    return subprocess.Popen(
        [sys.executable, "-m", "tests.support.apply_in_threads", *map(str, arguments)],
        cwd=PROJECT,
        env={
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "lepret.settings",
            "EVENTSTORE_URI": event_store.uri,
        },
        stdout=subprocess.PIPE,
        text=True,
    )


def outcomes_of(process: subprocess.Popen[str]) -> Counter[str]:
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0
    return Counter(json.loads(output))


@contextmanager
def worker_with_clock(event_store: RunningEventStore, *, ahead: timedelta) -> Iterator[None]:
    """A worker that runs during the block, as on a machine whose clock is `ahead` of ours."""
    command = ("release_reservations", "--lapse-after=1")
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.wrong_clock", str(ahead.total_seconds()), *command],
        cwd=PROJECT,
        env={
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "tests.impatient_settings",
            "EVENTSTORE_URI": event_store.uri,
        },
    )
    try:
        yield
    finally:
        process.kill()
        process.wait()


@contextmanager
def underwriter() -> Iterator[None]:
    """Approves requests that are under review, a few at a time, during the block."""
    stop = threading.Event()

    def work() -> None:
        while not stop.wait(0.05):
            for stream in list(events_by_stream("ManualReviewRequired"))[:50]:
                approve(codec.loan_request_id(stream))

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(PATIENCE)
    assert not thread.is_alive()


def approve(loan_request_id: UUID) -> None:
    command = ApproveLoan(id=loan_request_id, issued_at=timezone.now(), decided_by="uma")
    with suppress(AlreadyDecided):
        use_cases.approve_loan(command, event_store=loans_store(), policies=Policies(loans_store()))


def loan_events() -> list[RecordedEvent]:
    """All events of loan requests, in commit order."""
    return list(
        event_store_client().read_all(
            filter_include=[f"{codec.STREAM_PREFIX}.*"], filter_by_stream_name=True
        )
    )


def most_open_at_once(events: list[RecordedEvent]) -> int:
    """The largest number of requests that one person had open at the same time."""
    person_of: dict[str, str] = {}
    is_open: Counter[str] = Counter()
    most = 0
    for event in events:
        if event.type == "LoanRequested":
            person = person_of[event.stream_name] = json.loads(event.data)["national_id"]
            is_open[person] += 1
            most = max(most, is_open[person])
        elif event.type in DECISIONS:
            is_open[person_of[event.stream_name]] -= 1
    return most
