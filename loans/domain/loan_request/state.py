"""The state of a loan request, and how each event changes it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from functools import reduce
from typing import Literal, assert_never

from loans.domain.commands import RequestLoan
from loans.domain.events import (
    ApplicationLapsed,
    ApprovalProposed,
    AutoApproved,
    AutoDenied,
    ClaimExtended,
    CreditChecked,
    CreditCheckParked,
    DenialProposed,
    LoanEvent,
    LoanRequested,
    ManuallyApproved,
    ManuallyDenied,
    ManualReviewRequired,
    NoteAdded,
    RequestClaimed,
    RequestEscalated,
    RequestHandedOver,
    RequestReleased,
)


class Status(StrEnum):
    """The status of a request. The values appear in the JSON API."""

    NOT_REQUESTED = "not_requested"
    RECEIVED = "received"
    UNDER_REVIEW = "under_review"
    APPROVED = "approved"
    DENIED = "denied"


Awaited = Literal["second opinion", "third opinion"]
"""Whose opinion it takes to decide. The values appear in the JSON API."""


@dataclass(frozen=True, slots=True)
class Application:
    """What the applicant filled in."""

    name: str = field(repr=False)
    national_id: str = field(repr=False)
    amount: int
    address: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Vote:
    """What an underwriter says of a request; `reasons` are why not, and empty for an approval."""

    by: str
    status: Status
    reasons: tuple[str, ...] = ()
    reason_text: str = field(default="", repr=False)
    note: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Note:
    """What an underwriter noted, and when."""

    by: str
    text: str = field(repr=False)
    at: datetime


@dataclass(frozen=True, slots=True)
class Claim:
    """Who works on a request alone, and until when. Nothing records that a claim has run out."""

    by: str
    until: datetime


@dataclass(frozen=True, slots=True)
class Decision:
    """How a request was decided, by whom (`None`: by its credit score alone), and when.

    `policy` is the version of the policy that it was decided under.
    """

    status: Status
    decided_by: str | None
    decided_at: datetime
    reasons: tuple[str, ...] = ()
    reason_text: str = field(default="", repr=False)
    note: str = field(default="", repr=False)
    together_with: tuple[str, ...] = ()
    policy: int = 0

    @property
    def people(self) -> tuple[str, ...]:
        """Who decided; nobody where the credit score alone did."""
        return () if self.decided_by is None else (*self.together_with, self.decided_by)


@dataclass(frozen=True, slots=True)
class LoanRequest:
    """The state of a loan request; the default is the state before its first event.

    `parked` is why the credit bureau is no longer asked about it. `left_to_people_by` is the
    version of the policy under which it came to be reviewed. `votes` has the newest one of each
    underwriter, in the order in which they came. `claim` may have run out: see `held_at`.
    `is_escalated`: only leads may work on it.
    """

    status: Status = Status.NOT_REQUESTED
    application: Application | None = None
    requested_at: datetime | None = None
    credit_score: int | None = None
    factors: tuple[str, ...] = ()
    parked: str | None = None
    left_to_people_by: int | None = None
    votes: tuple[Vote, ...] = ()
    notes: tuple[Note, ...] = ()
    claim: Claim | None = None
    is_escalated: bool = False
    decision: Decision | None = None

    def held_at(self, moment: datetime) -> Claim | None:
        """The claim that holds at a moment."""
        return self.claim if self.claim is not None and moment < self.claim.until else None

    def vote_of(self, username: str) -> Vote | None:
        """The newest vote of an underwriter."""
        return next((vote for vote in self.votes if vote.by == username), None)

    def others(self, username: str, status: Status) -> tuple[str, ...]:
        """The other underwriters whose newest vote is for this outcome."""
        return tuple(
            vote.by for vote in self.votes if vote.status is status and vote.by != username
        )

    @property
    def awaiting(self) -> Awaited | None:
        """What it takes to decide, where somebody has voted."""
        if self.decision is not None or not self.votes:
            return None
        is_disagreement = len({vote.status for vote in self.votes}) > 1
        return "third opinion" if is_disagreement else "second opinion"


INITIAL = LoanRequest()


def evolve(state: LoanRequest, event: LoanEvent) -> LoanRequest:
    """The state after `event`. No event is ever refused: each type has a clause."""
    match event:
        case LoanRequested():
            return replace(
                state,
                status=Status.RECEIVED,
                application=application_in(event),
                requested_at=event.occurred_at,
            )
        case CreditChecked():
            score, factors = event.credit_score, event.factors
            return replace(state, credit_score=score, factors=factors, parked=None)
        case CreditCheckParked():
            return replace(state, parked=event.reason)
        case ApplicationLapsed():
            return state
        case ManualReviewRequired():
            return replace(state, status=Status.UNDER_REVIEW, left_to_people_by=event.policy)
        case ApprovalProposed() | DenialProposed():
            return replace(state, votes=_with_vote(state.votes, vote_in(event)), claim=None)
        case NoteAdded():
            note = Note(event.by, event.text, event.occurred_at)
            return replace(state, notes=(*state.notes, note))
        case RequestClaimed() | ClaimExtended():
            return replace(state, claim=Claim(event.by, event.until))
        case RequestHandedOver():
            return replace(state, claim=Claim(event.to, event.until))
        case RequestReleased():
            return replace(state, claim=None)
        case RequestEscalated():
            return replace(state, claim=None, is_escalated=True)
        case AutoApproved() | AutoDenied() | ManuallyApproved() | ManuallyDenied():
            decision = decision_in(event)
            return replace(state, status=decision.status, decision=decision, claim=None)
        case _:
            assert_never(event)


def fold(events: Iterable[LoanEvent], state: LoanRequest = INITIAL) -> LoanRequest:
    """The state after all of `events`, oldest first."""
    return reduce(evolve, events, state)


def application_in(source: LoanRequested | RequestLoan) -> Application:
    """What the applicant filled in."""
    return Application(
        name=source.name,
        national_id=source.national_id,
        amount=source.amount,
        address=source.address,
    )


def vote_in(event: ApprovalProposed | DenialProposed) -> Vote:
    """What an underwriter says of a request that is not decided yet."""
    if isinstance(event, ApprovalProposed):
        return Vote(event.by, Status.APPROVED, note=event.note)
    return Vote(event.by, Status.DENIED, event.reasons, event.reason_text, event.note)


def decision_in(
    event: AutoApproved | AutoDenied | ManuallyApproved | ManuallyDenied,
) -> Decision:
    """How a request was decided."""
    at, policy = event.occurred_at, event.policy
    match event:
        case AutoApproved():
            return Decision(Status.APPROVED, None, at, policy=policy)
        case AutoDenied():
            return Decision(Status.DENIED, None, at, event.reasons, policy=policy)
        case ManuallyApproved():
            return Decision(
                Status.APPROVED,
                event.decided_by,
                at,
                note=event.note,
                together_with=event.together_with,
                policy=policy,
            )
        case ManuallyDenied():
            return Decision(
                Status.DENIED,
                event.decided_by,
                at,
                event.reasons,
                event.reason_text,
                event.note,
                event.together_with,
                policy,
            )
        case _:
            assert_never(event)


def _with_vote(votes: tuple[Vote, ...], new: Vote) -> tuple[Vote, ...]:
    return (*(vote for vote in votes if vote.by != new.by), new)
