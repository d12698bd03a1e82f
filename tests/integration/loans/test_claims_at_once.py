"""Several underwriters who want the same requests at the same instant, on a real event store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from threading import Barrier
from typing import Any, Final, TypeVar
from uuid import UUID, uuid4

import pytest

from loans.adapters import codec
from loans.application import use_cases
from loans.application.use_cases import Answer
from loans.dependencies import event_store
from loans.domain.commands import AddNote, ApproveLoan, ClaimRequest, HandOver
from loans.domain.events import (
    ClaimExtended,
    CreditChecked,
    LoanEvent,
    LoanRequested,
    ManuallyApproved,
    ManualReviewRequired,
    NoteAdded,
    RequestClaimed,
    RequestHandedOver,
)
from loans.domain.loan_request import AlreadyDecided, ClaimedByAnother, Rejection
from loans.domain.policy import VERSION_0
from tests.support.fakes import AlwaysInForce
from tests.support.loans import UNDER_REVIEW_AT
from tests.support.processes import PATIENCE

RACES: Final = 1_000
SOME_RACES: Final = 100
UNDERWRITERS: Final = tuple(f"underwriter-{number}" for number in range(20))
AT: Final = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)
# When half of the lease is over, so that its holder goes on with it.
LATER: Final = AT + VERSION_0.policy.lease / 2
POLICIES: Final = AlwaysInForce(VERSION_0)

pytestmark = [pytest.mark.usefixtures("streams"), pytest.mark.flaky(reruns=0)]

T = TypeVar("T")
Outcome = Answer | Rejection


def append_one_under_review() -> UUID:
    id_ = uuid4()
    known: dict[str, Any] = {"name": "Ann", "national_id": "123456aa", "amount": 5_000}
    at: dict[str, Any] = {"id": id_, "occurred_at": AT}
    event_store().append(
        codec.loan_request_stream(id_),
        [
            LoanRequested(**at, **known),
            CreditChecked(**at, credit_score=5),
            ManualReviewRequired(**at, **known, credit_score=5, requested_at=AT),
        ],
        revision=None,
        command_id=id_,
        user="test",
    )
    return id_


def claim(id_: UUID, by: str, at: datetime = AT) -> Outcome:
    command = ClaimRequest(id=id_, issued_at=at, by=by)
    return _outcome(use_cases.claim_request, command)


def hand_over(id_: UUID, by: str, to: str, at: datetime = AT) -> Outcome:
    command = HandOver(id=id_, issued_at=at, by=by, to=to)
    return _outcome(use_cases.hand_over, command)


def approve(id_: UUID, by: str) -> Outcome:
    command = ApproveLoan(id=id_, issued_at=AT, decided_by=by, shown_revision=UNDER_REVIEW_AT)
    return _outcome(use_cases.approve_loan, command)


def _outcome(use_case: Callable[..., Answer], command: Any) -> Outcome:
    try:
        return use_case(command, event_store=event_store(), policies=POLICIES)
    except Rejection as rejection:
        return rejection


def types_of(id_: UUID) -> list[type[LoanEvent]]:
    """The types of a request's events since it came to be reviewed."""
    events = event_store().load(codec.loan_request_stream(id_)).events
    return [type(event) for event in events[UNDER_REVIEW_AT + 1 :]]


@pytest.fixture(scope="module")
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(len(UNDERWRITERS)) as threads:
        yield threads


def at_once(threads: ThreadPoolExecutor, *calls: Callable[[], T]) -> list[T]:
    """What each of the calls returns, which all begin at the same instant."""
    ready = Barrier(len(calls))

    def call(each: Callable[[], T]) -> T:
        ready.wait(PATIENCE)
        return each()

    return list(threads.map(call, calls))


def test_of_two_who_claim_one_gets_it_and_the_other_is_told_who(
    threads: ThreadPoolExecutor,
) -> None:
    winners: Counter[str] = Counter()
    for _ in range(RACES):
        id_ = append_one_under_review()
        both = ["uma", "ursula"]
        outcomes = at_once(threads, *(partial(claim, id_, by) for by in both))
        [winner] = [by for by, each in zip(both, outcomes, strict=True) if isinstance(each, Answer)]
        [refused] = [each for each in outcomes if isinstance(each, ClaimedByAnother)]
        assert (refused.by, refused.until) == (winner, AT + VERSION_0.policy.lease)
        assert types_of(id_) == [RequestClaimed]
        winners[winner] += 1
    assert len(winners) == 2, "both come first at times"


def test_a_claim_against_a_decision_is_judged_on_what_was_first(
    threads: ThreadPoolExecutor,
) -> None:
    for _ in range(SOME_RACES):
        id_ = append_one_under_review()
        claimed, approved = at_once(
            threads, partial(claim, id_, "uma"), partial(approve, id_, "ursula")
        )
        if isinstance(claimed, Answer):
            assert isinstance(approved, ClaimedByAnother)
            assert types_of(id_) == [RequestClaimed]
        else:
            assert isinstance(claimed, AlreadyDecided)
            assert isinstance(approved, Answer)
            assert types_of(id_) == [ManuallyApproved]


def test_ones_own_claim_never_prevents_ones_decision(threads: ThreadPoolExecutor) -> None:
    for _ in range(SOME_RACES):
        id_ = append_one_under_review()
        claimed, approved = at_once(
            threads, partial(claim, id_, "uma"), partial(approve, id_, "uma")
        )
        assert isinstance(approved, Answer)
        if isinstance(claimed, Answer):
            assert types_of(id_) == [RequestClaimed, ManuallyApproved]
        else:
            assert types_of(id_) == [ManuallyApproved]


def test_a_hand_over_always_comes_after_or_instead_of_going_on(threads: ThreadPoolExecutor) -> None:
    for _ in range(SOME_RACES):
        id_ = append_one_under_review()
        claim(id_, "uma")
        extended, handed_over = at_once(
            threads,
            partial(claim, id_, "uma", LATER),
            partial(hand_over, id_, "uma", "ursula", LATER),
        )
        assert isinstance(handed_over, Answer)
        if isinstance(extended, Answer):
            assert types_of(id_) == [RequestClaimed, ClaimExtended, RequestHandedOver]
        else:
            assert isinstance(extended, ClaimedByAnother)
            assert extended.by == "ursula"
            assert types_of(id_) == [RequestClaimed, RequestHandedOver]


def test_all_who_want_the_next_get_a_different_one(threads: ThreadPoolExecutor) -> None:
    ids = [append_one_under_review() for _ in UNDERWRITERS]

    def next_for(by: str) -> Answer | None:
        return use_cases.claim_first_of(
            ids,
            by=by,
            as_lead=False,
            clock=lambda: AT,
            event_store=event_store(),
            policies=POLICIES,
        )

    answers = at_once(threads, *(partial(next_for, by) for by in UNDERWRITERS))
    assert {answer.loan_request_id for answer in answers if answer} == set(ids)
    for answer, by in zip(answers, UNDERWRITERS, strict=True):
        assert answer is not None
        assert answer.state.claim is not None
        assert answer.state.claim.by == by
    assert all(types_of(id_) == [RequestClaimed] for id_ in ids)
    assert next_for("ulf") is None


def test_of_twenty_who_claim_all_but_one_are_told_who_has_it(threads: ThreadPoolExecutor) -> None:
    for _ in range(10):
        id_ = append_one_under_review()
        outcomes = at_once(threads, *(partial(claim, id_, by) for by in UNDERWRITERS))
        [answer] = [each for each in outcomes if isinstance(each, Answer)]
        assert answer.state.claim is not None
        told = [each.by for each in outcomes if isinstance(each, ClaimedByAnother)]
        assert told == [answer.state.claim.by] * (len(UNDERWRITERS) - 1)


def test_what_twenty_note_at_once_is_all_there(threads: ThreadPoolExecutor) -> None:
    """Nobody is refused here, so all try again until they come through."""
    id_ = append_one_under_review()

    def note(by: str) -> Answer:
        command = AddNote(id=id_, issued_at=AT + timedelta(seconds=1), by=by, text="Called.")
        return use_cases.add_note(command, event_store=event_store())

    at_once(threads, *(partial(note, by) for by in UNDERWRITERS))
    assert types_of(id_) == [NoteAdded] * len(UNDERWRITERS)
