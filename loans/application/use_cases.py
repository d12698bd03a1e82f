"""The use cases of the loan desk, one function each. `handle` has what they have in common.

A command may be sent again at any time (a double click, a retry after a lost answer, a web server
that was stopped in the middle): the answer is the same, and nothing happens twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Final
from uuid import UUID

from loans.adapters import codec
from loans.adapters.credit_bureau import CreditBureau, CreditBureauUnavailable
from loans.adapters.event_store import EventStore, NewerVersionNeeded, Stream
from loans.application.handling import handle
from loans.application.losses import noting_loss
from loans.application.policies import Policies
from loans.application.reservations import Held, Reservations
from loans.domain import loan_request
from loans.domain.commands import (
    AddNote,
    ApproveLoan,
    ClaimRequest,
    DenyLoan,
    EscalateRequest,
    HandOver,
    LoanCommand,
    ParkCreditCheck,
    RecordCreditScore,
    ReleaseRequest,
    RequestLoan,
    UnderwritersDecision,
)
from loans.domain.events import (
    ClaimExtended,
    LoanEvent,
    RequestClaimed,
    RequestHandedOver,
    RequestReleased,
    ReservationEvent,
)
from loans.domain.loan_request import (
    Application,
    LoanRequest,
    OutOfDate,
    Rejection,
    Status,
    decide,
    fold,
)
from loans.domain.policy import VERSION_0, PolicyInForce
from loans.domain.reservation import TakeReservation

# The `user` in the metadata of events that no member of staff caused.
APPLICANT: Final = "applicant"
CREDIT_CHECK: Final = "credit check"

LoanStream = Stream[LoanEvent]

# What says only who works on a request: a screen from before is not outdated by it.
_IMMATERIAL: Final = (RequestClaimed, ClaimExtended, RequestReleased, RequestHandedOver)


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
    policies: Policies,
    is_new_id: bool = False,
) -> Answer:
    """Score the applicant, and record the request with what follows from the score.

    If the credit bureau gives no score, the request is recorded without one, and scored later. The
    credit bureau is asked once at most, and not at all for a request that is already recorded. If
    the score decides, the applicant's reservation is released, for which the answer need not wait.

    `is_new_id` means that the id was made just now, and by us: what may be recorded with it is not
    looked for. With any other id, another application would be answered as if it was recorded.

    Raises:
        IdAlreadyUsed: the id belongs to another application.
        LoanRequestIsGone: the id belongs to a request whose events were deleted.
        OpenRequestExists: the person has a request that is not decided yet.
        ReservationIsGone: nobody can tell whether the person has one.
        EventStoreUnavailable, StaleRevision: not recorded; sending the command again is safe.
    """
    stream_id = codec.loan_request_stream(command.id)
    in_force = policies.in_force(command.issued_at)
    scored: RequestLoan | None = None
    held: Held | None = None
    loaded: LoanStream = Stream()
    person: Stream[ReservationEvent] | None = None

    def decide_on(stream: LoanStream) -> list[LoanEvent]:
        nonlocal scored, held
        state = fold(stream.events)
        if state.application is not None:
            return decide(command, state, in_force)
        take = TakeReservation(id=command.id, issued_at=command.issued_at, covers=stream.revision)
        held = reservations.take(take, national_id=command.national_id, assumed=person)
        scored = scored or _scored(command, credit_bureau)
        return decide(scored, state, in_force)

    with noting_loss(command.id, event_store=event_store, now=command.issued_at):
        if not is_new_id:
            of_person = reservations.stream_of(command.national_id)
            loaded, person = event_store.load_beside(stream_id, of_person)
        stream = handle(
            event_store, stream_id, decide_on, command=command, user=APPLICANT, loaded=loaded
        )
        if scored is not None and scored.credit_report is None:
            # The event store confirms an append that it already has. If the same command was sent
            # at the same moment and did get a score, the stream holds more than was appended here.
            stream = event_store.load(stream_id).as_left_by(command.command_id)
    answer = _answer(command.id, stream, is_new=scored is not None)
    if held is not None and answer.state.decision is not None:
        reservations.give_back(held, now=command.issued_at)
    return answer


def check_credit(
    loan_request_id: UUID,
    *,
    clock: Callable[[], datetime],
    event_store: EventStore,
    credit_bureau: CreditBureau,
    policies: Policies,
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
    report = credit_bureau.report(state.application.national_id, idempotency_key=loan_request_id)
    command = RecordCreditScore(id=loan_request_id, issued_at=clock(), credit_report=report)
    in_force = policies.in_force(command.issued_at)
    return _carry_out(command, in_force, user=CREDIT_CHECK, event_store=event_store, loaded=stream)


def park_credit_check(
    loan_request_id: UUID, *, reason: str, attempts: int, now: datetime, event_store: EventStore
) -> Answer:
    """Record that the credit bureau is no longer asked about a request, and why.

    Raises:
        UnknownLoanRequest, LoanRequestIsGone: there is no such request any more.
        EventStoreUnavailable, StaleRevision: not recorded; doing it again is safe.
    """
    command = ParkCreditCheck(id=loan_request_id, issued_at=now, reason=reason, attempts=attempts)
    # No policy has a say in it.
    return _carry_out(command, VERSION_0, user=CREDIT_CHECK, event_store=event_store)


def release_reservation(
    loan_request_id: UUID, *, now: datetime, event_store: EventStore, reservations: Reservations
) -> None:
    """Release the reservation of a request that is decided, if it still holds one.

    Raises:
        LoanRequestIsGone: its events were deleted, and with them whose reservation it is.
        EventStoreUnavailable, StaleRevision, StreamGone: as `Reservations.release`.
    """
    with noting_loss(loan_request_id, event_store=event_store, now=now):
        stream = event_store.load(codec.loan_request_stream(loan_request_id))
    state = fold(stream.events)
    if state.application is not None and state.decision is not None:
        assert stream.revision is not None, "an empty stream has no application"
        reservations.release(
            loan_request_id,
            ended_at=stream.revision,
            national_id=state.application.national_id,
            now=now,
        )


def approve_loan(command: ApproveLoan, *, event_store: EventStore, policies: Policies) -> Answer:
    """Approve a request that is under review, or say so until a second person does.

    Raises:
        UnknownLoanRequest, LoanRequestIsGone, NotUnderReview, AlreadyDecided: it cannot be decided.
        OutOfDate: it has changed since it was shown.
        EventStoreUnavailable, StaleRevision: not recorded; sending the command again is safe.
    """
    in_force = policies.in_force(command.issued_at)
    return _carry_out(command, in_force, user=command.decided_by, event_store=event_store)


def deny_loan(command: DenyLoan, *, event_store: EventStore, policies: Policies) -> Answer:
    """Deny a request that is under review, or say so until it is clear; raises as `approve_loan`.

    Raises:
        ReasonNotInPolicy, ReasonNotExplained: the policy in force wants other reasons.
    """
    in_force = policies.in_force(command.issued_at)
    return _carry_out(command, in_force, user=command.decided_by, event_store=event_store)


def add_note(command: AddNote, *, event_store: EventStore) -> Answer:
    """Note something on a request, however it stands.

    Whoever decides on what was shown before is told to look again.

    Raises:
        UnknownLoanRequest, LoanRequestIsGone: there is no such request any more.
        TooManyNotes: it has as many notes as it may have.
        EventStoreUnavailable, StaleRevision: not recorded; sending the command again is safe.
    """
    # No policy has a say in it.
    return _carry_out(command, VERSION_0, user=command.by, event_store=event_store)


def claim_request(command: ClaimRequest, *, event_store: EventStore, policies: Policies) -> Answer:
    """Claim a request for an underwriter, or go on with the claim.

    Raises:
        UnknownLoanRequest, LoanRequestIsGone, NotUnderReview, AlreadyDecided: it cannot be decided.
        ClaimedByAnother, ForLeads, OpinionGiven: others may work on it.
        EventStoreUnavailable, StaleRevision: not recorded; sending the command again is safe.
    """
    return _at_the_desk(command, event_store=event_store, policies=policies)


def claim_first_of(
    ids: Iterable[UUID],
    *,
    by: str,
    as_lead: bool,
    clock: Callable[[], datetime],
    event_store: EventStore,
    policies: Policies,
) -> Answer | None:
    """Claim the first of these requests that can be claimed; `None` if none can.

    The ids are a hint, such as from a page that is a moment old. What only a newer version of the
    program can read is left to that version.

    Raises:
        EventStoreUnavailable, StaleRevision: not recorded; doing it again is safe.
    """
    for each in ids:
        command = ClaimRequest(id=each, issued_at=clock(), by=by, as_lead=as_lead, as_next=True)
        try:
            return claim_request(command, event_store=event_store, policies=policies)
        except (Rejection, NewerVersionNeeded):
            continue
    return None


def release_request(
    command: ReleaseRequest, *, event_store: EventStore, policies: Policies
) -> Answer:
    """Let go of a request; nothing happens for whoever does not hold it.

    Raises:
        UnknownLoanRequest, LoanRequestIsGone: there is no such request any more.
        EventStoreUnavailable, StaleRevision: not recorded; sending the command again is safe.
    """
    return _at_the_desk(command, event_store=event_store, policies=policies)


def hand_over(command: HandOver, *, event_store: EventStore, policies: Policies) -> Answer:
    """Give a request to another underwriter; raises as `claim_request`.

    Raises:
        NotClaimed: nobody holds it, and no lead gives it away.
        WhyNeeded: a lead gives away what another holds, and does not say why.
    """
    return _at_the_desk(command, event_store=event_store, policies=policies)


def escalate_request(
    command: EscalateRequest, *, event_store: EventStore, policies: Policies
) -> Answer:
    """Leave a request to the lead underwriters; raises as `claim_request`."""
    return _at_the_desk(command, event_store=event_store, policies=policies)


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
        report = credit_bureau.report(command.national_id, idempotency_key=command.command_id)
    except CreditBureauUnavailable:
        return command
    return command.model_copy(update={"credit_report": report})


def _at_the_desk(
    command: ClaimRequest | ReleaseRequest | HandOver | EscalateRequest,
    *,
    event_store: EventStore,
    policies: Policies,
) -> Answer:
    in_force = policies.in_force(command.issued_at)
    return _carry_out(command, in_force, user=command.by, event_store=event_store)


def _carry_out(
    command: LoanCommand,
    in_force: PolicyInForce,
    *,
    user: str,
    event_store: EventStore,
    loaded: LoanStream | None = None,
) -> Answer:
    with noting_loss(command.id, event_store=event_store, now=command.issued_at):
        stream = handle(
            event_store,
            codec.loan_request_stream(command.id),
            partial(_decide_on, command, in_force),
            command=command,
            user=user,
            loaded=loaded,
        )
    return _answer(command.id, stream)


def _decide_on(
    command: LoanCommand, in_force: PolicyInForce, stream: LoanStream
) -> list[LoanEvent]:
    # What is sent again gets the same answer, whatever others have done since.
    if stream.has(command.command_id):
        return []
    events = decide(command, fold(stream.events), in_force)
    if events and isinstance(command, UnderwritersDecision):
        _check_is_up_to_date(command, stream)
    return events


def _check_is_up_to_date(command: UnderwritersDecision, stream: LoanStream) -> None:
    assert stream.revision is not None, "there is nothing to decide in an empty stream"
    if command.shown_revision is None:
        return
    material = (each for each in stream.recorded if not isinstance(each.event, _IMMATERIAL))
    oldest = max(each.revision for each in material)
    if not oldest <= command.shown_revision <= stream.revision:
        raise OutOfDate(stream.revision)


def _answer(loan_request_id: UUID, stream: LoanStream, *, is_new: bool = False) -> Answer:
    assert stream.revision is not None, "a command that is not rejected leaves events"
    assert stream.position is not None, "a command that is not rejected leaves events"
    state = fold(stream.events)
    return Answer(loan_request_id, state, stream.position, stream.revision, is_new)
