"""What the loan desk does: load, decide, append. One function per command.

Commands may be sent again at any time (a double click, a retry after a lost answer, a web server
that was stopped in the middle): the answer is the same and nothing happens twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

import stamina

from loans.credit_bureau import CreditBureau
from loans.domain.commands import ApproveLoan, DenyLoan, LoanCommand, RequestLoan
from loans.domain.loan_request import LoanRequest, Status, decide, fold
from loans.event_store import EventStore, StaleRevision, Stream

APPLICANT = "applicant"


@dataclass(frozen=True)
class Answer:
    """How a loan request stands after a command, and the commit position that shows it."""

    loan_request_id: UUID
    state: LoanRequest
    position: int

    @property
    def status(self) -> Status:
        return self.state.status


def request_loan(
    command: RequestLoan, *, event_store: EventStore, credit_bureau: CreditBureau, attempts: int = 5
) -> Answer:
    """Score the applicant and record the request with what follows from the score.

    The clearing house is not asked again for a request that is already recorded.

    Raises:
        IdAlreadyUsed: the id belongs to another application.
        CreditBureauUnavailable: no score to be had; nothing was recorded.
        EventStoreUnavailable: no answer in time; sending the command again is safe.
    """
    stream = event_store.load(command.id)
    if stream.revision is None:
        score = credit_bureau.score(command.national_id, idempotency_key=command.command_id)
        command = command.model_copy(update={"credit_score": score})
    return _handle(
        command, user=APPLICANT, event_store=event_store, attempts=attempts, loaded=stream
    )


def approve_loan(command: ApproveLoan, *, event_store: EventStore, attempts: int = 5) -> Answer:
    """Approve a request that is under review.

    Raises:
        UnknownLoanRequest, NotUnderReview, AlreadyDecided: it cannot be decided (any more).
        EventStoreUnavailable: no answer in time; sending the command again is safe.
    """
    return _handle(command, user=command.decided_by, event_store=event_store, attempts=attempts)


def deny_loan(command: DenyLoan, *, event_store: EventStore, attempts: int = 5) -> Answer:
    """Deny a request that is under review; raises as `approve_loan` does."""
    return _handle(command, user=command.decided_by, event_store=event_store, attempts=attempts)


def _handle(
    command: LoanCommand,
    *,
    user: str,
    event_store: EventStore,
    attempts: int,
    loaded: Stream | None = None,
) -> Answer:
    """Decide on the stream as it is; where someone else was quicker, decide again on the new one.

    Raises:
        StaleRevision: others were quicker, `attempts` times in a row.
    """
    for attempt in stamina.retry_context(
        on=StaleRevision, attempts=attempts, timeout=None, wait_initial=0.005, wait_max=0.1
    ):
        with attempt:
            stream = loaded if loaded and attempt.num == 1 else event_store.load(command.id)
            return _decide_and_append(command, stream, user=user, event_store=event_store)
    raise AssertionError("retry_context either returns or raises")


def _decide_and_append(
    command: LoanCommand, stream: Stream, *, user: str, event_store: EventStore
) -> Answer:
    state = fold(stream.events)
    events = decide(command, state)
    if not events:
        assert stream.position is not None, "only a stream with events can answer with none"
        return Answer(command.id, state, stream.position)
    position = event_store.append(
        command.id, events, revision=stream.revision, command_id=command.command_id, user=user
    )
    return Answer(command.id, fold(events, state), position)
