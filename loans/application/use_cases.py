"""What the loan desk does: load, decide, append. One function per command.

Commands may be sent again at any time (a double click, a retry after a lost answer, a web server
that was stopped in the middle): the answer is the same and nothing happens twice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import cache, partial
from typing import Final
from uuid import UUID

from loans.adapters import codec
from loans.adapters.credit_bureau import CreditBureau, CreditBureauUnavailable
from loans.adapters.event_store import EventStore, Stream
from loans.application.reservations import Reservations
from loans.application.retries import until_not_stale
from loans.domain.commands import (
    ApproveLoan,
    DenyLoan,
    LoanCommand,
    ParkCreditCheck,
    RecordCreditScore,
    RequestLoan,
    UnderwritersDecision,
)
from loans.domain.events import LoanEvent
from loans.domain.loan_request import LoanRequest, OutOfDate, Status, decide, fold
from loans.domain.reservation import TakeReservation

# Who acts, in the metadata of events that no member of staff caused.
APPLICANT: Final = "applicant"
CREDIT_CHECK: Final = "credit check"

LoanStream = Stream[LoanEvent]


@dataclass(frozen=True)
class Answer:
    """How a loan request stands after a command: its state, and the last event's whereabouts.

    `revision` is that event's number in the request's stream, `position` its commit position.
    """

    loan_request_id: UUID
    state: LoanRequest
    position: int
    revision: int

    @property
    def status(self) -> Status:
        return self.state.status


def request_loan(
    command: RequestLoan,
    *,
    event_store: EventStore,
    credit_bureau: CreditBureau,
    reservations: Reservations,
) -> Answer:
    """Score the applicant and record the request with what follows from the score.

    Without a score the request is recorded all the same, and scored later. The credit bureau is
    not asked again for a request that is already recorded.

    Raises:
        IdAlreadyUsed: the id belongs to another application.
        OpenRequestExists: the person has a request that is not decided yet.
        EventStoreUnavailable, StaleRevision: not recorded; sending the command again is safe.
    """
    score = cache(partial(_score_if_possible, command, credit_bureau))

    def request(stream: LoanStream) -> Answer:
        if fold(stream.events).application is not None:
            return _decide_and_append(command, stream, user=APPLICANT, event_store=event_store)
        take = TakeReservation(id=command.id, issued_at=command.issued_at, covers=stream.revision)
        reservations.take(take, national_id=command.national_id)
        scored = command.model_copy(update={"credit_score": score()})
        answer = _decide_and_append(scored, stream, user=APPLICANT, event_store=event_store)
        return answer if score() is not None else _answer_again(command, event_store)

    return until_not_stale(request, codec.loan_request_stream(command.id), event_store)


def check_credit(
    loan_request_id: UUID,
    *,
    clock: Callable[[], datetime],
    event_store: EventStore,
    credit_bureau: CreditBureau,
) -> Answer | None:
    """Score a request that was recorded without, and record what follows; `None`: not needed.

    The credit bureau is asked with the same key as when the request was made, so that it sees one
    question however often it is asked.

    Raises:
        CreditBureauUnavailable: no score to be had; nothing was recorded.
        EventStoreUnavailable, StaleRevision: not recorded; doing it again is safe.
    """
    stream = _load(loan_request_id, event_store)
    state = fold(stream.events)
    if state.application is None or state.credit_score is not None:
        return None
    score = credit_bureau.score(state.application.national_id, idempotency_key=loan_request_id)
    command = RecordCreditScore(id=loan_request_id, issued_at=clock(), credit_score=score)
    return _handle(command, user=CREDIT_CHECK, event_store=event_store, loaded=stream)


def park_credit_check(
    loan_request_id: UUID, *, reason: str, attempts: int, now: datetime, event_store: EventStore
) -> Answer:
    """Record that the credit bureau is not asked about a request any more, and why.

    Raises:
        UnknownLoanRequest: there is no such request.
        EventStoreUnavailable, StaleRevision: not recorded; doing it again is safe.
    """
    command = ParkCreditCheck(id=loan_request_id, issued_at=now, reason=reason, attempts=attempts)
    return _handle(command, user=CREDIT_CHECK, event_store=event_store)


def release_reservation(
    loan_request_id: UUID, *, now: datetime, event_store: EventStore, reservations: Reservations
) -> None:
    """Release what a decided request may still hold; harmless where there is nothing to release.

    Raises:
        EventStoreUnavailable, StaleRevision: not released; doing it again is safe.
    """
    state = fold(_load(loan_request_id, event_store).events)
    if state.application is not None and state.decision is not None:
        national_id = state.application.national_id
        reservations.release(loan_request_id, national_id=national_id, now=now)


def approve_loan(command: ApproveLoan, *, event_store: EventStore) -> Answer:
    """Approve a request that is under review.

    Raises:
        UnknownLoanRequest, NotUnderReview, AlreadyDecided: it cannot be decided (any more).
        OutOfDate: it has changed since it was shown.
        EventStoreUnavailable, StaleRevision: not recorded; sending the command again is safe.
    """
    return _handle(command, user=command.decided_by, event_store=event_store)


def deny_loan(command: DenyLoan, *, event_store: EventStore) -> Answer:
    """Deny a request that is under review; raises as `approve_loan` does."""
    return _handle(command, user=command.decided_by, event_store=event_store)


def _score_if_possible(command: RequestLoan, credit_bureau: CreditBureau) -> int | None:
    try:
        return credit_bureau.score(command.national_id, idempotency_key=command.command_id)
    except CreditBureauUnavailable:
        return None


def _answer_again(command: RequestLoan, event_store: EventStore) -> Answer:
    # The event store answers an append that it has already as if it were new. Had the same command
    # been sent at the same moment and got a score, there would be more than was appended here.
    return _answer(command, _load(command.id, event_store).as_left_by(command.command_id))


def _handle(
    command: LoanCommand, *, user: str, event_store: EventStore, loaded: LoanStream | None = None
) -> Answer:
    """Decide on the stream as it is; where someone else was quicker, decide again on the new one.

    Raises:
        StaleRevision: others were quicker every time.
    """

    def handle(stream: LoanStream) -> Answer:
        return _decide_and_append(command, stream, user=user, event_store=event_store)

    stream_id = codec.loan_request_stream(command.id)
    return until_not_stale(handle, stream_id, event_store, known=loaded)


def _load(loan_request_id: UUID, event_store: EventStore) -> LoanStream:
    return event_store.load(codec.loan_request_stream(loan_request_id))


def _decide_and_append(
    command: LoanCommand, stream: LoanStream, *, user: str, event_store: EventStore
) -> Answer:
    state = fold(stream.events)
    events = decide(command, state)
    if not events:
        return _answer(command, stream.as_left_by(command.command_id))
    _check_is_up_to_date(command, stream)
    position = event_store.append(
        codec.loan_request_stream(command.id),
        events,
        revision=stream.revision,
        command_id=command.command_id,
        user=user,
    )
    revision = len(events) - 1 + (0 if stream.revision is None else stream.revision + 1)
    return Answer(command.id, fold(events, state), position, revision)


def _check_is_up_to_date(command: LoanCommand, stream: LoanStream) -> None:
    if not isinstance(command, UnderwritersDecision) or command.shown_revision is None:
        return
    if stream.revision is not None and command.shown_revision != stream.revision:
        raise OutOfDate(stream.revision)


def _answer(command: LoanCommand, stream: LoanStream) -> Answer:
    assert stream.revision is not None, "only a stream with events can answer with none"
    assert stream.position is not None, "only a stream with events can answer with none"
    return Answer(command.id, fold(stream.events), stream.position, stream.revision)
