"""The credit score, and what follows from it for a request."""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Final

from pydantic import Field

WORST_SCORE: Final = 1
BEST_SCORE: Final = 10
HIGHEST_DENIED_SCORE: Final = 4
LOWEST_APPROVED_SCORE: Final = 7

CreditScore = Annotated[int, Field(strict=True, ge=WORST_SCORE, le=BEST_SCORE)]


class Assessment(Enum):
    """What follows from a credit score alone."""

    APPROVE = "approve"
    DENY = "deny"
    REVIEW = "review"


def assess(score: int) -> Assessment:
    """Approve from 7 up, deny up to 4, and leave 5 and 6 to an underwriter."""
    if score >= LOWEST_APPROVED_SCORE:
        return Assessment.APPROVE
    if score <= HIGHEST_DENIED_SCORE:
        return Assessment.DENY
    return Assessment.REVIEW
