"""Several people and a changing policy at the same instant, before a real event store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from threading import Barrier, Event, Thread
from typing import Any, Final
from uuid import UUID, uuid4

import pytest

from loans.adapters import codec
from loans.application import use_cases
from loans.application.policies import Policies
from loans.application.use_cases import Answer
from loans.dependencies import event_store
from loans.domain.commands import ApproveLoan, RequestLoan
from loans.domain.events import (
    AutoApproved,
    AutoDenied,
    CreditChecked,
    LoanEvent,
    LoanRequested,
    ManuallyApproved,
    ManualReviewRequired,
)
from loans.domain.lending_policy import POLICY_ID, ConfirmPolicy, PublishPolicy
from loans.domain.loan_request import OutOfDate, Status, fold
from loans.domain.policy import VERSION_0, Assessment, Policy, assess
from tests.support.fakes import AlwaysInForce, FakeCreditBureau, FakeEventStore, reservations_in
from tests.support.loans import UNDER_REVIEW_AT
from tests.support.made_up_policies import limited_to
from tests.support.processes import PATIENCE, wait_until

PAIRS: Final = 1_000
AT: Final = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)
LIMITED: Final = AlwaysInForce(limited_to(10_000))

pytestmark = [pytest.mark.usefixtures("streams"), pytest.mark.flaky(reruns=0)]


def append_one_under_review() -> UUID:
    """Record a request that takes two people."""
    id_ = uuid4()
    known: dict[str, Any] = {"name": "Ann", "national_id": "123456aa", "amount": 20_000}
    at: dict[str, Any] = {"id": id_, "occurred_at": AT}
    event_store().append(
        codec.loan_request_stream(id_),
        [
            LoanRequested(**at, **known),
            CreditChecked(**at, credit_score=5),
            ManualReviewRequired(**at, **known, credit_score=5, requested_at=AT, policy=1),
        ],
        revision=None,
        command_id=id_,
        user="test",
    )
    return id_


def approve(id_: UUID, by: str, *, shown: int | None) -> Answer | OutOfDate:
    command = ApproveLoan(id=id_, issued_at=AT, decided_by=by, shown_revision=shown)
    try:
        return use_cases.approve_loan(command, event_store=event_store(), policies=LIMITED)
    except OutOfDate as late:
        return late


def both_at_once(
    threads: ThreadPoolExecutor, id_: UUID, *, shown: int | None = None
) -> list[Answer | OutOfDate]:
    ready = Barrier(2)

    def vote(by: str) -> Answer | OutOfDate:
        ready.wait(PATIENCE)
        return approve(id_, by, shown=shown)

    return list(threads.map(vote, ["uma", "ursula"]))


def events_of(id_: UUID) -> Sequence[LoanEvent]:
    return event_store().load(codec.loan_request_stream(id_)).events


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as threads:
        yield threads


def test_pairs_of_first_votes_end_with_one_decision_by_two_people(
    threads: ThreadPoolExecutor,
) -> None:
    for _ in range(PAIRS):
        id_ = append_one_under_review()
        both_at_once(threads, id_)
        events = events_of(id_)
        assert len(events) == UNDER_REVIEW_AT + 3, "one vote, and one decision"
        decision = events[-1]
        assert isinstance(decision, ManuallyApproved)
        assert {decision.decided_by, *decision.together_with} == {"uma", "ursula"}


def test_the_later_of_two_first_votes_looks_again_and_knows_that_hers_decides(
    threads: ThreadPoolExecutor,
) -> None:
    for _ in range(50):
        id_ = append_one_under_review()
        answers = both_at_once(threads, id_, shown=UNDER_REVIEW_AT)
        outcomes = dict(zip(["uma", "ursula"], answers, strict=True))
        [late] = [by for by, answer in outcomes.items() if isinstance(answer, OutOfDate)]
        assert fold(events_of(id_)).awaiting == "second opinion"

        again = approve(id_, late, shown=UNDER_REVIEW_AT + 1)
        assert isinstance(again, Answer)
        assert again.status is Status.APPROVED
        assert again.state.decision is not None
        assert again.state.decision.decided_by == late


def test_a_vote_that_is_sent_twice_at_once_is_one_vote(threads: ThreadPoolExecutor) -> None:
    for _ in range(50):
        id_ = append_one_under_review()
        votes = threads.map(lambda id_: approve(id_, "uma", shown=UNDER_REVIEW_AT), [id_, id_])
        for answer in votes:
            assert isinstance(answer, Answer)
            assert answer.state.awaiting == "second opinion"
            assert answer.revision == UNDER_REVIEW_AT + 1
        assert len(events_of(id_)) == UNDER_REVIEW_AT + 2


@pytest.mark.usefixtures("event_store")
def test_each_decision_names_the_version_that_it_was_made_under_while_it_changes() -> None:
    """Requests pour in while versions are confirmed. Each is decided as its version would again."""
    versions = {0: VERSION_0.policy}
    with applying_from(4) as ids:
        for version in range(1, 6):
            wait_for_more(ids)
            versions[version] = put_in_force(version)
        wait_for_more(ids)

    seen = Counter(check_outcome(id_, versions) for id_ in ids)
    assert set(seen) == set(versions), "some were decided under each version"


@contextmanager
def applying_from(count: int) -> Iterator[list[UUID]]:
    """Have threads apply while the block runs, which share what is known of the policy."""
    policies = Policies(event_store(), kept_seconds=0.0)
    ids: list[UUID] = []
    stop = Event()

    def apply() -> None:
        while not stop.is_set():
            ids.append(apply_once(policies, score=1 + len(ids) % 10))

    threads = [Thread(target=apply) for _ in range(count)]
    for each in threads:
        each.start()
    try:
        yield ids
    finally:
        stop.set()
        for each in threads:
            each.join(PATIENCE)


def apply_once(policies: Policies, *, score: int) -> UUID:
    command = RequestLoan(
        id=uuid4(), issued_at=datetime.now(UTC), name="Ann", national_id="123456aa", amount=5_000
    )
    use_cases.request_loan(
        command,
        event_store=event_store(),
        credit_bureau=FakeCreditBureau(score),
        reservations=reservations_in(FakeEventStore()),
        policies=policies,
    )
    return command.id


def wait_for_more(ids: list[UUID]) -> None:
    """Wait until some more have applied."""
    enough = len(ids) + 30
    wait_until(lambda: len(ids) >= enough, every=0.01)


def put_in_force(version: int) -> Policy:
    """Publish another policy, and confirm it."""
    policy = Policy(deny_up_to=version % 5, approve_from=10 - version)
    now = datetime.now(UTC)
    policies = Policies(event_store())
    policies.carry_out(
        PublishPolicy(
            id=POLICY_ID, issued_at=now, by="pat", why="Try.", effective_at=now, policy=policy
        )
    )
    now = datetime.now(UTC)
    policies.carry_out(ConfirmPolicy(id=POLICY_ID, issued_at=now, by="paul", version=version))
    return policy


def check_outcome(id_: UUID, versions: dict[int, Policy]) -> int:
    """Check that a request stands as its version has it; returns the version."""
    outcome = events_of(id_)[-1]
    state = fold(events_of(id_))
    assert isinstance(outcome, AutoApproved | AutoDenied | ManualReviewRequired)
    assert state.credit_score is not None
    report = FakeCreditBureau(state.credit_score).report("123456aa", idempotency_key=id_)
    expected = {
        Assessment.APPROVE: AutoApproved,
        Assessment.DENY: AutoDenied,
        Assessment.REVIEW: ManualReviewRequired,
    }
    assert type(outcome) is expected[assess(report, 5_000, versions[outcome.policy])]
    return outcome.policy
