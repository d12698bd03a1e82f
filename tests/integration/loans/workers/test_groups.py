"""Groups that exist already: of other versions, or made otherwise."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import pytest
from django.core.management import call_command

from lepret.common.event_store_client import event_store_client
from loans.adapters.http_credit_bureau import CallPolicy, HttpCreditBureau
from loans.application.policies import Policies
from loans.dependencies import event_store as loans_store
from loans.workers.credit_checks import CREDIT_CHECKS, CreditChecks
from loans.workers.groups import SETTINGS, Group
from loans.workers.redelivery import Redelivery
from loans.workers.worker import Worker
from tests.support.processes import PATIENCE, wait_until
from tests.support.workers import (
    Workers,
    append_deferred,
    events_by_stream,
    parked_count,
    types_of,
    wait_until_checked,
    wait_until_ready,
)

pytestmark = pytest.mark.usefixtures("event_store")

OLD_NAME: Final = CREDIT_CHECKS.purpose
POLICY: Final = CallPolicy(
    connect_timeout=5, read_timeout=5, deadline=5, attempts=1, failures=1_000, pause=1
)
OTHER_SETTINGS: Final = {
    "consumer_strategy": "DispatchToSingle",
    "message_timeout": 1.0,
    "max_retry_count": 2,
    "max_subscriber_count": 1,
    "live_buffer_size": 10,
    "read_batch_size": 5,
    "history_buffer_size": 20,
}


def make(name: str, **settings: Any) -> None:
    """A group as somebody else might have made it."""
    matching = {"filter_include": ["(LoanRequested)"], **SETTINGS, **settings}
    event_store_client().create_subscription_to_all(name, **matching)


def group_names() -> set[str]:
    return {info.group_name for info in event_store_client().list_subscriptions()}


def settings_of(name: str) -> dict[str, Any]:
    info = event_store_client().get_subscription_info(name)
    return {key: getattr(info, key) for key in SETTINGS}


class TestAGroupOfAnotherVersion:
    @pytest.mark.parametrize(
        "made_with",
        [
            {"filter_include": ["(SomethingElse)"]},
            {"filter_include": ["Nobody:.*"], "filter_by_stream_name": True},
            {"from_end": True},
            {"message_timeout": 1.0, "max_retry_count": 1, "consumer_strategy": "Pinned"},
        ],
        ids=["other types", "other streams", "from the end", "other settings"],
    )
    def test_keeps_no_event_from_the_workers(
        self, workers: Workers, made_with: dict[str, Any]
    ) -> None:
        before = append_deferred(2)
        make(OLD_NAME, **made_with)
        with workers.credit_bureau():
            worker = workers.check_credit()
            wait_until_ready(worker)
            wait_until_checked(before)
            assert worker.stop() == 0

        assert f"The group {OLD_NAME}, with 0 parked, is another version's" in worker.output

    def test_leaves_what_it_has_parked_to_the_new_one(
        self, workers: Workers, capsys: pytest.CaptureFixture[str]
    ) -> None:
        old = OldVersion()
        ids = append_deferred(2)
        with old.at_work("http://127.0.0.1:9"):
            wait_until(lambda: parked_count(old.group) == 2)
        with workers.credit_bureau():
            worker = workers.check_credit()
            wait_until_checked(ids)
            call_command("prepare_event_store", "--delete-old-groups")
            assert worker.stop() == 0

        assert f"The group {old.group.name}, with 2 parked, is another version's" in worker.output
        deleted = f"{old.group.name} (another version's, with 2 parked): deleted"
        assert deleted in capsys.readouterr().out.splitlines()
        assert old.group.name not in group_names()

    def test_may_be_at_work_beside_it(self, workers: Workers) -> None:
        """As in a rolling update: each request is scored once all the same."""
        old = OldVersion()
        with workers.credit_bureau("--latency=0.05") as bureau, old.at_work(bureau.url):
            worker = workers.check_credit()
            wait_until_ready(worker)
            ids = append_deferred(30)
            wait_until_checked(ids)
            wait_until(lambda: is_idle(old.group) and is_idle(CREDIT_CHECKS))
            assert worker.stop() == 0
            assert len(bureau.asks()) == len(ids), "whoever asks uses the request's key"

        scores = events_by_stream("CreditChecked")
        outcomes = events_by_stream("AutoApproved", "AutoDenied", "ManualReviewRequired")
        assert [len(each) for each in scores.values()] == [1] * len(ids)
        assert [len(each) for each in outcomes.values()] == [1] * len(ids)


class TestAGroupWithOurName:
    def test_is_used_as_it_is_until_an_operator_prepares_it(self, workers: Workers) -> None:
        make(CREDIT_CHECKS.name, **OTHER_SETTINGS)
        ids = append_deferred(2)
        with workers.credit_bureau():
            first, second = workers.check_credit(), workers.check_credit()
            wait_until_checked(ids)
            for worker in (first, second):
                wait_until(lambda: "has other settings" in worker.output)  # noqa: B023
            assert settings_of(CREDIT_CHECKS.name) != SETTINGS
            call_command("prepare_event_store")
            # The group takes both now, and takes the first one again.
            wait_until_ready(first, second)
            wait_until_checked([*ids, *append_deferred(2)])
            assert [first.stop(), second.stop()] == [0, 0]

        assert settings_of(CREDIT_CHECKS.name) == SETTINGS
        for worker in (first, second):
            assert worker.output.count("has other settings") == 1
            assert "max_subscriber_count 1" in worker.output
        assert "Lost the event store" in first.output + second.output, "a change disconnects all"

    def test_is_made_anew_by_an_operator_if_it_begins_elsewhere(
        self, workers: Workers, capsys: pytest.CaptureFixture[str]
    ) -> None:
        before = append_deferred(2)
        make(CREDIT_CHECKS.name, from_end=True)
        with workers.credit_bureau():
            worker = workers.check_credit()
            wait_until_checked(append_deferred(2))
            call_command("prepare_event_store")
            wait_until(lambda: all(len(types_of(each)) > 1 for each in before))
            assert worker.stop() == 0

        assert "other settings: start_from C:" in worker.output
        assert f"{CREDIT_CHECKS.name}: made anew" in capsys.readouterr().out

    def test_on_another_stream_is_left_alone(self, workers: Workers) -> None:
        event_store_client().create_subscription_to_stream(OLD_NAME, "Shop")
        with workers.credit_bureau():
            worker = workers.check_credit()
            wait_until_checked(append_deferred(1))
            assert worker.stop() == 0

        assert worker.output == "check_credit is ready\n"


class OldVersion:
    """A worker of another version in this process: its group has one more type."""

    def __init__(self) -> None:
        types = (*CREDIT_CHECKS.event_types, "LoanWithdrawn")
        self.group = Group(CREDIT_CHECKS.purpose, types, CREDIT_CHECKS.is_wanted)

    @contextmanager
    def at_work(self, bureau_url: str) -> Iterator[None]:
        stop, ready = threading.Event(), threading.Event()
        bureau = HttpCreditBureau(bureau_url, POLICY)
        worker = Worker(
            self.group,
            CreditChecks(
                event_store=loans_store(), credit_bureau=bureau, policies=Policies(loans_store())
            ),
            connect=event_store_client,
            redelivery=Redelivery(retries=1, longest_delay=0.1),
            threads=4,
        )
        thread = threading.Thread(target=worker.run, args=(stop, ready.set))
        thread.start()
        try:
            assert ready.wait(PATIENCE)
            yield
        finally:
            stop.set()
            thread.join(PATIENCE)
        assert not thread.is_alive()


def is_idle(group: Group) -> bool:
    info = event_store_client().get_subscription_info(group.name)
    return info.total_in_flight_messages == info.live_buffer_count == 0
