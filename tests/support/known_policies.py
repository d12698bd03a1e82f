"""Versions of the lending policy in the read model, as a projector writes them."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from loans.domain.policy import OTHER, Factor, Policy, Reason
from readmodels.models import LendingPolicy
from tests.support.loans import AT

STRICT: Final = Policy(
    automatic_up_to=10_000,
    four_eyes_above=10_000,
    deny_unexplained=False,
    reasons={
        "too_much_debt": Reason(staff="Debt", applicant="Your debts are too high."),
        OTHER: Reason(staff="Another reason", applicant="We will write to you."),
    },
    factors={"short_history": Factor(applicant="You have borrowed only lately.")},
)


def known(version: int, policy: Policy = STRICT, *, since: datetime = AT) -> LendingPolicy:
    """Have a version in the read model, proposed, confirmed, and in force since then."""
    return LendingPolicy.objects.create(
        version=version,
        policy=policy.model_dump(mode="json"),
        proposed_by="pat",
        proposed_at=since,
        why="The new year.",
        effective_at=since,
        confirmed_by="paul",
        confirmed_at=since,
    )
