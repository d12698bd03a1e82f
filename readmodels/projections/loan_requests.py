"""All loan requests with all their details, for the back office and underwriters."""

from __future__ import annotations

from typing import assert_never

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
    LoanRequestBack,
    LoanRequested,
    LoanRequestGone,
    LossEvent,
    ManuallyApproved,
    ManuallyDenied,
    ManualReviewRequired,
    NoteAdded,
    RequestClaimed,
    RequestEscalated,
    RequestHandedOver,
    RequestReleased,
)
from readmodels.live import broadcasts
from readmodels.models import LoanRequest, Status
from readmodels.projections.base import Projection
from readmodels.projections.claims import UNCLAIMED, claim_after
from readmodels.projections.decisions import decided
from readmodels.projections.notes import note_in
from readmodels.projections.rows import Rows
from readmodels.projections.votes import Vote, with_vote


def handle(event: LoanEvent | LossEvent, rows: Rows[LoanRequest]) -> None:
    match event:
        case LoanRequested():
            rows.put(
                event.id,
                status=Status.RECEIVED,
                name=event.name,
                national_id=event.national_id,
                amount=event.amount,
                address=event.address,
                requested_at=event.occurred_at,
            )
        case CreditChecked():
            rows.change(
                event.id,
                credit_score=event.credit_score,
                factors=list(event.factors),
                scored_at=event.scored_at or event.occurred_at,
                agency=event.agency,
                parked_because="",
            )
        case CreditCheckParked():
            rows.change(event.id, parked_because=event.reason)
        case ManualReviewRequired():
            rows.change(
                event.id,
                status=Status.UNDER_REVIEW,
                policy=event.policy,
                passed_on_at=event.occurred_at,
                review_policy=event.policy,
            )
        case ApprovalProposed():
            rows.change(event.id, votes=_votes(event, rows), **UNCLAIMED)
        case DenialProposed():
            rows.change(event.id, votes=_votes(event, rows), disagreement=True, **UNCLAIMED)
        case NoteAdded():
            row = rows.get(event.id)
            rows.change(event.id, notes=[*(row.notes if row else []), note_in(event)])
        case (
            RequestClaimed()
            | ClaimExtended()
            | RequestReleased()
            | RequestHandedOver()
            | RequestEscalated()
        ):
            rows.change(event.id, **claim_after(event))
        case AutoApproved() | AutoDenied():
            rows.change(event.id, **decided(event))
        case ManuallyApproved() | ManuallyDenied():
            rows.change(
                event.id,
                **decided(event),
                **UNCLAIMED,
                decided_by=event.decided_by,
                together_with=list(event.together_with),
                note=event.note,
            )
        case ApplicationLapsed():
            pass  # There was no request yet, and so there is no row.
        case LoanRequestGone():
            rows.change(event.id, gone_at=event.occurred_at)
        case LoanRequestBack():
            rows.change(event.id, gone_at=None)
        case _:
            assert_never(event)


def _votes(event: ApprovalProposed | DenialProposed, rows: Rows[LoanRequest]) -> list[Vote]:
    row = rows.get(event.id)
    return with_vote(event, row.votes if row else [])


PROJECTION = Projection(
    name="loan_requests",
    version=6,
    model=LoanRequest,
    handle=handle,
    group=broadcasts.underwriting_group,
)
