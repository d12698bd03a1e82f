"""What rows say of who works on a request."""

from __future__ import annotations

from typing import Any, Final, assert_never

from loans.domain.events import (
    ClaimExtended,
    RequestClaimed,
    RequestEscalated,
    RequestHandedOver,
    RequestReleased,
)

ClaimEvent = RequestClaimed | ClaimExtended | RequestReleased | RequestHandedOver | RequestEscalated

UNCLAIMED: Final[dict[str, Any]] = {"claimed_by": "", "claimed_until": None}


def claim_after(event: ClaimEvent) -> dict[str, Any]:
    """The columns that say who works on a request. Nothing says that a claim has run out."""
    match event:
        case RequestClaimed() | ClaimExtended():
            return {"claimed_by": event.by, "claimed_until": event.until}
        case RequestHandedOver():
            return {"claimed_by": event.to, "claimed_until": event.until}
        case RequestReleased():
            return UNCLAIMED
        case RequestEscalated():
            return {**UNCLAIMED, "escalated_by": event.by, "escalated_because": event.why}
        case _:
            assert_never(event)
