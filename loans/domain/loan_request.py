"""The decider of a loan request: its state, its rejections, and one function per command.

Pure: no I/O, no clock, no randomness. `decide` turns a command into events or raises a `Rejection`;
`evolve` folds an event into the state. See https://thinkbeforecoding.com/post/2021/12/17/functional-event-sourcing-decider
for the pattern.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from functools import reduce
from typing import assert_never

from loans.domain.commands import (
    ApproveLoan,
    DenyLoan,
    LapseApplication,
    LoanCommand,
    ParkCreditCheck,
    RecordCreditScore,
    RequestLoan,
)
from loans.domain.credit_score import Assessment, assess
from loans.domain.events import (
    ApplicationLapsed,
    AutoApproved,
    AutoDenied,
    CreditChecked,
    CreditCheckParked,
    LoanEvent,
    LoanRequested,
    ManuallyApproved,
    ManuallyDenied,
    ManualReviewRequired,
)


class Status(StrEnum):
    """The status of a request. The values appear in the JSON API."""

    NOT_REQUESTED = "not_requested"
    RECEIVED = "received"
    UNDER_REVIEW = "under_review"
    APPROVED = "approved"
    DENIED = "denied"


@dataclass(frozen=True, slots=True)
class Application:
    """What the applicant filled in."""

    name: str = field(repr=False)
    national_id: str = field(repr=False)
    amount: int
    address: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Decision:
    """How a request was decided, by whom (`None`: by its credit score alone), and when."""

    status: Status
    decided_by: str | None
    decided_at: datetime
    reason: str | None = None
    note: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class LoanRequest:
    """The state of a loan request; the default is the state before its first event.

    `parked` is why the credit bureau is no longer asked about it.
    """

    status: Status = Status.NOT_REQUESTED
    application: Application | None = None
    credit_score: int | None = None
    parked: str | None = None
    decision: Decision | None = None


INITIAL = LoanRequest()


class Rejection(Exception):
    """A command cannot be carried out. The message may be shown to the sender."""


class IdAlreadyUsed(Rejection):
    """The request's id belongs to another application."""

    def __init__(self) -> None:
        super().__init__("This id was already used for another application.")


class UnknownLoanRequest(Rejection):
    """There is no request with this id."""

    def __init__(self) -> None:
        super().__init__("There is no loan request with this id.")


class LoanRequestIsGone(Rejection):
    """The events of the request were deleted or truncated, so nobody can tell how it stands."""

    def __init__(self) -> None:
        super().__init__(
            "The record of this loan request was deleted or cut short, so it can no longer be "
            "decided. Its applicant may apply again."
        )


class NotUnderReview(Rejection):
    """The request has not been scored yet, so there is nothing to decide."""

    def __init__(self) -> None:
        super().__init__("This loan request is not under review yet.")


class AlreadyDecided(Rejection):
    """The request is decided. A decision cannot be changed."""

    def __init__(self, decision: Decision) -> None:
        by = decision.decided_by or "its credit score"
        at = f"{decision.decided_at:%d %B %Y at %H:%M:%S} UTC"
        super().__init__(f"Already {decision.status} by {by} on {at}.")


class OutOfDate(Rejection):
    """The request has changed since it was shown. `revision` is that of its stream now."""

    def __init__(self, revision: int) -> None:
        super().__init__("This loan request has changed since it was shown. Please look again.")
        self.revision = revision


def decide(command: LoanCommand, state: LoanRequest) -> list[LoanEvent]:
    """The events that `command` causes; none if it was carried out before.

    Raises:
        Rejection: the command cannot be carried out in this state.
    """
    match command:
        case RequestLoan():
            return _request(command, state)
        case RecordCreditScore():
            return _record_score(command, state)
        case ParkCreditCheck():
            return _park(command, state)
        case LapseApplication():
            return _lapse(command, state)
        case ApproveLoan():
            return _approve(command, state)
        case DenyLoan():
            return _deny(command, state)
        case _:
            assert_never(command)


def _request(command: RequestLoan, state: LoanRequest) -> list[LoanEvent]:
    if state.application is not None:
        return _request_again(command, state.application)
    requested = LoanRequested(
        id=command.id,
        occurred_at=command.issued_at,
        name=command.name,
        national_id=command.national_id,
        amount=command.amount,
        address=command.address,
    )
    if command.credit_score is None:
        return [requested]
    application = _application_in(requested)
    return [requested, *_checked(command, application, command.credit_score)]


def _request_again(command: RequestLoan, application: Application) -> list[LoanEvent]:
    if application == _application_in(command):
        return []
    raise IdAlreadyUsed


def _record_score(command: RecordCreditScore, state: LoanRequest) -> list[LoanEvent]:
    if state.application is None:
        raise UnknownLoanRequest
    if state.credit_score is not None:
        return []
    return _checked(command, state.application, command.credit_score)


def _checked(
    command: RequestLoan | RecordCreditScore, application: Application, score: int
) -> list[LoanEvent]:
    checked = CreditChecked(id=command.id, occurred_at=command.issued_at, credit_score=score)
    return [checked, _assessed(command, application, score)]


def _assessed(
    command: RequestLoan | RecordCreditScore, application: Application, score: int
) -> LoanEvent:
    match assess(score):
        case Assessment.APPROVE:
            return AutoApproved(id=command.id, occurred_at=command.issued_at)
        case Assessment.DENY:
            return AutoDenied(id=command.id, occurred_at=command.issued_at)
        case Assessment.REVIEW:
            return ManualReviewRequired(
                id=command.id,
                occurred_at=command.issued_at,
                name=application.name,
                national_id=application.national_id,
                amount=application.amount,
                credit_score=score,
            )
        case unreachable:
            assert_never(unreachable)


def _park(command: ParkCreditCheck, state: LoanRequest) -> list[LoanEvent]:
    if state.application is None:
        raise UnknownLoanRequest
    if state.credit_score is not None or state.parked == command.reason:
        return []
    return [
        CreditCheckParked(
            id=command.id,
            occurred_at=command.issued_at,
            reason=command.reason,
            attempts=command.attempts,
        )
    ]


def _lapse(command: LapseApplication, state: LoanRequest) -> list[LoanEvent]:
    if state.application is not None:
        return []
    return [ApplicationLapsed(id=command.id, occurred_at=command.issued_at)]


def _approve(command: ApproveLoan, state: LoanRequest) -> list[LoanEvent]:
    approved = ManuallyApproved(
        id=command.id,
        occurred_at=command.issued_at,
        decided_by=command.decided_by,
        note=command.note,
    )
    return _decide_once(approved, state)


def _deny(command: DenyLoan, state: LoanRequest) -> list[LoanEvent]:
    denied = ManuallyDenied(
        id=command.id,
        occurred_at=command.issued_at,
        decided_by=command.decided_by,
        reason=command.reason,
        note=command.note,
    )
    return _decide_once(denied, state)


def _decide_once(event: ManuallyApproved | ManuallyDenied, state: LoanRequest) -> list[LoanEvent]:
    if state.decision is not None and _is_repeated(_decision_in(event), state.decision):
        return []
    under_review(state)
    return [event]


def under_review(state: LoanRequest) -> Application:
    """What the applicant filled in, of a request that an underwriter may decide.

    Raises:
        UnknownLoanRequest, NotUnderReview, AlreadyDecided: it cannot be decided.
    """
    if state.application is None:
        raise UnknownLoanRequest
    if state.decision is not None:
        raise AlreadyDecided(state.decision)
    if state.status is not Status.UNDER_REVIEW:
        raise NotUnderReview
    return state.application


def _is_repeated(new: Decision, old: Decision) -> bool:
    return replace(new, decided_at=old.decided_at) == old


def evolve(state: LoanRequest, event: LoanEvent) -> LoanRequest:
    """The state after `event`. No event is ever refused: each type has a clause."""
    match event:
        case LoanRequested():
            return replace(state, status=Status.RECEIVED, application=_application_in(event))
        case CreditChecked():
            return replace(state, credit_score=event.credit_score, parked=None)
        case CreditCheckParked():
            return replace(state, parked=event.reason)
        case ApplicationLapsed():
            return state
        case ManualReviewRequired():
            return replace(state, status=Status.UNDER_REVIEW)
        case AutoApproved() | AutoDenied() | ManuallyApproved() | ManuallyDenied():
            decision = _decision_in(event)
            return replace(state, status=decision.status, decision=decision)
        case _:
            assert_never(event)


def fold(events: Iterable[LoanEvent], state: LoanRequest = INITIAL) -> LoanRequest:
    """The state after all of `events`, oldest first."""
    return reduce(evolve, events, state)


def _application_in(source: LoanRequested | RequestLoan) -> Application:
    return Application(
        name=source.name,
        national_id=source.national_id,
        amount=source.amount,
        address=source.address,
    )


def _decision_in(
    event: AutoApproved | AutoDenied | ManuallyApproved | ManuallyDenied,
) -> Decision:
    match event:
        case AutoApproved():
            return Decision(Status.APPROVED, None, event.occurred_at)
        case AutoDenied():
            return Decision(Status.DENIED, None, event.occurred_at)
        case ManuallyApproved():
            return Decision(Status.APPROVED, event.decided_by, event.occurred_at, None, event.note)
        case ManuallyDenied():
            return Decision(
                Status.DENIED, event.decided_by, event.occurred_at, event.reason, event.note
            )
        case _:
            assert_never(event)
