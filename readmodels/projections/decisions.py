"""What rows say of a decision, however it was made."""

from __future__ import annotations

from typing import Any, assert_never

from loans.domain.events import AutoApproved, AutoDenied, ManuallyApproved, ManuallyDenied
from readmodels.models import Status


def decided(
    event: AutoApproved | AutoDenied | ManuallyApproved | ManuallyDenied,
) -> dict[str, Any]:
    """The columns that each row of a decided request has."""
    columns: dict[str, Any] = {"decided_at": event.occurred_at, "policy": event.policy}
    match event:
        case AutoApproved() | ManuallyApproved():
            return columns | {"status": Status.APPROVED}
        case AutoDenied():
            return columns | {"status": Status.DENIED, "reasons": list(event.reasons)}
        case ManuallyDenied():
            return columns | {
                "status": Status.DENIED,
                "reasons": list(event.reasons),
                "reason_text": event.reason_text,
                "denial_reason": event.reasons[0],
            }
        case _:
            assert_never(event)
