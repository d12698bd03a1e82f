"""Real workers, when an operator deletes or truncates streams."""

from __future__ import annotations

import re
from functools import partial
from uuid import UUID

import pytest

from lepret.common.event_store_client import event_store_client
from loans.adapters.codec import stream_name
from loans.dependencies import reservations
from loans.domain.reservation import OpenRequestExists
from loans.workers.credit_checks import CREDIT_CHECKS
from loans.workers.losses import LOSSES
from tests.integration.loans.workers.test_release_reservations import ANN, request
from tests.support.fakes import FakeCreditBureau
from tests.support.fork_server import Forked
from tests.support.loans import append_approval, append_requested_loan
from tests.support.lost_streams import OF_ALL_EVENTS, WAYS, Way, set_metadata, tombstone, truncate
from tests.support.processes import wait_until
from tests.support.workers import (
    Workers,
    append_deferred,
    events_by_stream,
    parked_count,
    wait_until_ready,
)


def losses() -> list[tuple[str, str]]:
    """The request and the type of each event about a loss, in commit order."""
    by_stream = events_by_stream("LoanRequestGone", "LoanRequestBack")
    events = sorted(
        (each for some in by_stream.values() for each in some),
        key=lambda each: each.commit_position or 0,
    )
    return [(each.stream_name.partition(":")[2], each.type) for each in events]


def lose(loan_request_id: UUID, way: Way) -> None:
    way(event_store_client(), stream_name(loan_request_id))


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_a_loss_is_noted_at_once_though_nobody_asks_for_the_request(
    workers: Workers, way: Way
) -> None:
    lost, kept = (append_requested_loan(score).loan_request_id for score in (5, 9))
    worker = workers.release_reservations()
    wait_until_ready(worker)

    lose(lost, way)

    wait_until(lambda: losses() == [(str(lost), "LoanRequestGone")], what="it is noted")
    wait_until(lambda: f"The stream of {lost} is gone" in worker.output)
    assert str(kept) not in worker.output


def test_it_is_noted_also_if_no_worker_ran_at_that_time(workers: Workers) -> None:
    lost = append_requested_loan(5).loan_request_id
    lose(lost, tombstone)
    workers.check_credit()
    wait_until(lambda: losses() == [(str(lost), "LoanRequestGone")], what="it is noted")


def test_a_stream_that_is_whole_again_is_noted_as_such(workers: Workers) -> None:
    found = append_requested_loan(5).loan_request_id
    wait_until_ready(workers.release_reservations())
    lose(found, truncate)
    wait_until(lambda: len(losses()) == 1)
    set_metadata(event_store_client(), stream_name(found), {})
    wait_until(lambda: losses()[-1] == (str(found), "LoanRequestBack"))
    append_approval(found)


def test_metadata_of_others_and_harmless_ones_are_passed_over(workers: Workers) -> None:
    loan = append_requested_loan(5).loan_request_id
    worker = workers.release_reservations()
    wait_until_ready(worker)
    for name in ("Other:1", f"LoanRequest:{str(loan).upper()}", "LoanRequest:x"):
        set_metadata(event_store_client(), name, {"$tb": 1})
    lose(loan, lambda client, name: set_metadata(client, name, {"$maxCount": 10, "$tb": 0}))
    client = event_store_client()
    last = client.get_commit_position(filter_include=[r"\$metadata"])

    def has_looked() -> bool:
        info = client.get_subscription_info(LOSSES.name)
        known = re.match(r"C:(\d+)/", info.last_known_event_position)
        return not info.total_in_flight_messages and known is not None and int(known[1]) >= last

    wait_until(has_looked, what="all is looked at")
    assert losses() == []
    assert "WARNING" not in worker.output


@pytest.mark.parametrize("way", OF_ALL_EVENTS.values(), ids=OF_ALL_EVENTS)
def test_a_credit_check_is_done_with_at_once(workers: Workers, way: Way) -> None:
    lost, kept = append_deferred(2)
    lose(lost, way)
    with workers.credit_bureau():
        worker = workers.check_credit()
        wait_until(lambda: len(events_by_stream("CreditChecked")) == 1)
        wait_until(lambda: "Passed over LoanRequested" in worker.output)
        assert worker.stop() == 0
    assert set(events_by_stream("CreditChecked")) == {stream_name(kept)}
    assert worker.output.count("Passed over") == 1
    assert parked_count(CREDIT_CHECKS) == 0


class TestAReservationThatIsGone:
    @pytest.mark.parametrize("way", OF_ALL_EVENTS.values(), ids=OF_ALL_EVENTS)
    def test_is_restored_as_it_was(self, workers: Workers, way: Way) -> None:
        worker = workers.release_reservations()
        wait_until_ready(worker)
        open_request = request(FakeCreditBureau(5)).loan_request_id
        name = reservations().stream_of(ANN).name

        way(event_store_client(), name)

        wait_until(lambda: "Restored a reservation" in worker.output)
        with pytest.raises(OpenRequestExists):
            request(FakeCreditBureau(5))
        append_approval(open_request)
        request(FakeCreditBureau(5))
        assert name not in worker.output

    def is_restored(self, worker: Forked, times: int) -> bool:
        return worker.output.count("Restored a reservation") == times

    def test_is_restored_however_often_it_is_deleted(self, workers: Workers) -> None:
        worker = workers.release_reservations()
        wait_until_ready(worker)
        request(FakeCreditBureau(5))
        for times in (1, 2, 3):
            in_use = list(events_by_stream("ReservationTaken"))[-1]
            tombstone(event_store_client(), in_use)
            wait_until(partial(self.is_restored, worker, times))
        with pytest.raises(OpenRequestExists):
            request(FakeCreditBureau(5))
