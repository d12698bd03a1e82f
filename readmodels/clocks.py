"""Until when a request is to be decided: the lender's own promise, and the law's term.

Both begin when the request is complete, which is once its credit report is in.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from loans.domain.policy import Policy

LEGAL_TERM: Final = timedelta(days=30)
"""Within it an applicant is told of the decision (12 CFR 1002.9(a)(1))."""

SOON: Final = 0.75
"""The share of a term after which it ends soon."""


def due_at(complete_at: datetime, policy: Policy) -> datetime:
    """When the lender's own promise ends, by the policy in force."""
    return complete_at + policy.decide_within


def legal_deadline(complete_at: datetime) -> datetime:
    """When the law's term ends."""
    return complete_at + LEGAL_TERM


def ends_soon_since(now: datetime, term: timedelta) -> datetime:
    """Of what was complete then or before, three quarters of the term are over, or all of it."""
    return now - SOON * term
