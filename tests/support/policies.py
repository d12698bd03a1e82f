"""Lending policies for tests, which stay in force in the event store: use one of the test's own."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from django.utils import timezone

from loans.dependencies import policies
from loans.domain.lending_policy import POLICY_ID, ConfirmPolicy, PublishPolicy
from loans.domain.policy import Factor, Policy

DEMO_LIKE: Final = Policy(
    deny_unexplained=False,
    automatic_up_to=10_000,
    four_eyes_above=10_000,
    factors={
        "late_payments": Factor(applicant="You have paid late."),
        "many_inquiries": Factor(applicant="You have applied for many loans lately."),
    },
)
"""As the demo's: amounts above 10,000 are for people, and to approve one takes two of them."""


def propose(policy: Policy, *, by: str = "pat", effective_at: datetime | None = None) -> int:
    """Propose a version, at once if no time is given; returns its number."""
    now = timezone.now()
    command = PublishPolicy(
        id=POLICY_ID,
        issued_at=now,
        by=by,
        why="For a test",
        effective_at=effective_at or now,
        policy=policy,
    )
    policies().carry_out(command)
    return len(policies().versions())


def publish(policy: Policy, **options: Any) -> int:
    """Propose a version and confirm it; returns its number."""
    number = propose(policy, **options)
    policies().carry_out(
        ConfirmPolicy(id=POLICY_ID, issued_at=timezone.now(), by="paul", version=number)
    )
    return number


def put_in_force(policy: Policy = DEMO_LIKE) -> int:
    """Publish a version by which this process decides at once; returns its number."""
    number = publish(policy)
    policies.cache_clear()
    return number
