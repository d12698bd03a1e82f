"""The use cases of the loan desk, one function each. `handle` has what they have in common.

A command may be sent again at any time (a double click, a retry after a lost answer, a web server
that was stopped in the middle): the answer is the same, and nothing happens twice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Final
from uuid import UUID

from loans.adapters import codec
from loans.adapters.credit_bureau import CreditBureau, CreditBureauUnavailable
from loans.adapters.event_store import EventStore, Stream
from loans.application.handling import handle
from loans.application.losses import noting_loss
from loans.application.reservations import Reservations
from loans.domain import loan_request
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
from loans.domain.loan_request import Application, LoanRequest, OutOfDate, Status, decide, fold
from loans.domain.reservation import TakeReservation

# The `user` in the metadata of events that no member of staff caused.
APPLICANT: Final = "applicant"
CREDIT_CHECK: Final = "credit check"

LoanStream = Stream[LoanEvent]


@dataclass(frozen=True)
class Answer:
    """A loan request after a command.

    `revision` is the last event's number in the request's stream, `position` its commit position.
    `is_new` tells the answer to a new application from that to one that was sent again.
    """

    loan_request_id: UUID
    state: LoanRequest
    position: int
    revision: int
    is_new: bool = field(default=False, compare=False)

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
    """Score the applicant, and record the request with what follows from the score.

    If the credit bureau gives no score, the request is recorded without one, and scored later. The
    credit bureau is asked once at most, and not at all for a request that is already recorded.

    Raises:
        IdAlreadyUsed: the id belongs to another application.
        LoanRequestIsGone: the id belongs to a request whose events were deleted.
        OpenRequestExists: the person has a request that is not decided yet.
        ReservationIsGone: nobody can tell whether the person has one.
        EventStoreUnavailable, StaleRevision: not recorded; sending the command again is safe.
    """
    stream_id = codec.loan_request_stream(command.id)
    scored: RequestLoan | None = None

    def decide_on(stream: LoanStream) -> list[LoanEvent]:
        nonlocal scored
        state = fold(stream.events)
        if state.application is not None:
            return decide(command, state)
        take = TakeReservation(id=command.id, issued_at=command.issued_at, covers=stream.revision)
        reservations.take(take, national_id=command.national_id)
        scored = scored or _scored(command, credit_bureau)
        return decide(scored, state)

    with noting_loss(command.id, event_store=event_store, now=command.issued_at):
        stream = handle(event_store, stream_id, decide_on, command=command, user=APPLICANT)
        if scored is not None and scored.credit_score is None:
            # The event store confirms an append that it already has. If the same command was sent
            # at the same moment and did get a score, the stream holds more than was appended here.
            stream = event_store.load(stream_id).as_left_by(command.command_id)
    return _answer(command.id, stream, is_new=scored is not None)


def check_credit(
    loan_request_id: UUID,
    *,
    clock: Callable[[], datetime],
    event_store: EventStore,
    credit_bureau: CreditBureau,
) -> Answer | None:
    """Score a request that was recorded without a score. Returns `None` if it needs no score.

    The credit bureau is asked with the same idempotency key as when the request was made.

    Raises:
        CreditBureauUnavailable: it gave no score; nothing was recorded.
        LoanRequestIsGone: its events were deleted.
        EventStoreUnavailable, StaleRevision: not recorded; doing it again is safe.
    """
    with noting_loss(loan_request_id, event_store=event_store, now=clock()):
        stream = event_store.load(codec.loan_request_stream(loan_request_id))
    state = fold(stream.events)
    if state.application is None or state.credit_score is not None:
        return None
    score = credit_bureau.score(state.application.national_id, idempotency_key=loan_request_id)
    command = RecordCreditScore(id=loan_request_id, issued_at=clock(), credit_score=score)
    return _carry_out(command, user=CREDIT_CHECK, event_store=event_store, loaded=stream)


def park_credit_check(
    loan_request_id: UUID, *, reason: str, attempts: int, now: datetime, event_store: EventStore
) -> Answer:
    """Record that the credit bureau is no longer asked about a request, and why.

    Raises:
        UnknownLoanRequest, LoanRequestIsGone: there is no such request any more.
        EventStoreUnavailable, StaleRevision: not recorded; doing it again is safe.
    """
    command = ParkCreditCheck(id=loan_request_id, issued_at=now, reason=reason, attempts=attempts)
    return _carry_out(command, user=CREDIT_CHECK, event_store=event_store)


def release_reservation(
    loan_request_id: UUID, *, now: datetime, event_store: EventStore, reservations: Reservations
) -> None:
    """Release the reservation of a request that is decided, if it still holds one.

    Raises:
        LoanRequestIsGone: its events were deleted, and with them whose reservation it is.
        EventStoreUnavailable, StaleRevision, StreamGone: as `Reservations.release`.
    """
    with noting_loss(loan_request_id, event_store=event_store, now=now):
        state = fold(event_store.load(codec.loan_request_stream(loan_request_id)).events)
    if state.application is not None and state.decision is not None:
        national_id = state.application.national_id
        reservations.release(loan_request_id, national_id=national_id, now=now)


def approve_loan(command: ApproveLoan, *, event_store: EventStore) -> Answer:
    """Approve a request that is under review.

    Raises:
        UnknownLoanRequest, LoanRequestIsGone, NotUnderReview, AlreadyDecided: it cannot be decided.
        OutOfDate: it has changed since it was shown.
        EventStoreUnavailable, StaleRevision: not recorded; sending the command again is safe.
    """
    return _carry_out(command, user=command.decided_by, event_store=event_store)


def deny_loan(command: DenyLoan, *, event_store: EventStore) -> Answer:
    """Deny a request that is under review; raises as `approve_loan` does."""
    return _carry_out(command, user=command.decided_by, event_store=event_store)


def look_up(loan_request_id: UUID, *, now: datetime, event_store: EventStore) -> LoanRequest:
    """How a loan request stands by its events, which the read models may not have yet.

    Raises:
        LoanRequestIsGone: its events were deleted.
        EventStoreUnavailable: no answer in time.
    """
    with noting_loss(loan_request_id, event_store=event_store, now=now):
        return fold(event_store.load(codec.loan_request_stream(loan_request_id)).events)


def under_review(loan_request_id: UUID, *, now: datetime, event_store: EventStore) -> Application:
    """What the applicant filled in, of a request that an underwriter may decide.

    Raises:
        UnknownLoanRequest, LoanRequestIsGone, NotUnderReview, AlreadyDecided: it cannot be decided.
        EventStoreUnavailable: no answer in time.
    """
    return loan_request.under_review(look_up(loan_request_id, now=now, event_store=event_store))


def _scored(command: RequestLoan, credit_bureau: CreditBureau) -> RequestLoan:
    try:
        score = credit_bureau.score(command.national_id, idempotency_key=command.command_id)
    except CreditBureauUnavailable:
        return command
    return command.model_copy(update={"credit_score": score})


def _carry_out(
    command: LoanCommand, *, user: str, event_store: EventStore, loaded: LoanStream | None = None
) -> Answer:
    with noting_loss(command.id, event_store=event_store, now=command.issued_at):
        stream = handle(
            event_store,
            codec.loan_request_stream(command.id),
            partial(_decide_on, command),
            command=command,
            user=user,
            loaded=loaded,
        )
    return _answer(command.id, stream)


def _decide_on(command: LoanCommand, stream: LoanStream) -> list[LoanEvent]:
    events = decide(command, fold(stream.events))
    # A decision that is sent again gets the same answer, whatever revision was shown.
    if events and isinstance(command, UnderwritersDecision):
        _check_is_up_to_date(command, stream)
    return events


def _check_is_up_to_date(command: UnderwritersDecision, stream: LoanStream) -> None:
    assert stream.revision is not None, "there is nothing to decide in an empty stream"
    if command.shown_revision not in (None, stream.revision):
        raise OutOfDate(stream.revision)


def _answer(loan_request_id: UUID, stream: LoanStream, *, is_new: bool = False) -> Answer:
    assert stream.revision is not None, "a command that is not rejected leaves events"
    assert stream.position is not None, "a command that is not rejected leaves events"
    state = fold(stream.events)
    return Answer(loan_request_id, state, stream.position, stream.revision, is_new)
