"""The requests that wait for an underwriter."""

from __future__ import annotations

from typing import assert_never

from loans.domain.events import (
    ApprovalProposed,
    ClaimExtended,
    DenialProposed,
    LoanRequestBack,
    LoanRequestGone,
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
from readmodels.models import PendingRequest
from readmodels.projections.base import Projection
from readmodels.projections.claims import UNCLAIMED, ClaimEvent, claim_after
from readmodels.projections.rows import Rows
from readmodels.projections.votes import with_vote

Handled = (
    ManualReviewRequired
    | ApprovalProposed
    | DenialProposed
    | ManuallyApproved
    | ManuallyDenied
    | NoteAdded
    | ClaimEvent
    | LoanRequestGone
    | LoanRequestBack
)


def handle(event: Handled, rows: Rows[PendingRequest]) -> None:
    match event:
        case ManualReviewRequired():
            rows.put(
                event.id,
                name=event.name,
                national_id=event.national_id,
                amount=event.amount,
                credit_score=event.credit_score,
                requested_at=event.occurred_at,
                applied_at=event.requested_at,
                factors=list(event.factors),
                policy=event.policy,
            )
        case ApprovalProposed() | DenialProposed():
            # A vote is told to the pages, even if its row should not be there.
            row = rows.get(event.id)
            votes = with_vote(event, row.votes if row else [])
            rows.change(event.id, votes=votes, **UNCLAIMED)
        case NoteAdded():
            # For one that is decided there is no row, and nobody to tell.
            if row := rows.get(event.id):
                rows.change(event.id, notes=row.notes + 1)
        case (
            RequestClaimed()
            | ClaimExtended()
            | RequestReleased()
            | RequestHandedOver()
            | RequestEscalated()
        ):
            rows.change(event.id, **claim_after(event))
        case ManuallyApproved() | ManuallyDenied():
            rows.remove(event.id)
        case LoanRequestGone():
            rows.change(event.id, gone_at=event.occurred_at)
        case LoanRequestBack():
            rows.change(event.id, gone_at=None)
        case _:
            assert_never(event)


PROJECTION = Projection(
    name="underwriters_queue",
    version=6,
    model=PendingRequest,
    handle=handle,
    group=lambda loan_request_id: broadcasts.UNDERWRITING,
    leads=True,
)
