"""Policies that tests decide by."""

from __future__ import annotations

from typing import Any, Final

from loans.domain.policy import VERSION_0, Factor, Policy, PolicyInForce

FACTORS: Final = {
    "late_payments": Factor(applicant="You have paid late."),
    "short_history": Factor(applicant="You have had credit for a short time only."),
    "too_many_loans": Factor(applicant="You have many loans."),
    "retired": Factor(applicant="This is no longer told.", active=False),
}


def version(number: int = 1, **fields: Any) -> PolicyInForce:
    """A version that differs in these fields from what held before there was any."""
    return PolicyInForce(number, Policy(**fields))


def limited_to(amount: int, number: int = 1) -> PolicyInForce:
    """A version by which two people approve what is above an amount."""
    return version(number, automatic_up_to=amount, four_eyes_above=amount)


EXPLAINED: Final = version(
    deny_unexplained=False, factors=FACTORS, reasons=VERSION_0.policy.reasons
)
"""Nothing is denied at once by it that cannot be explained."""
