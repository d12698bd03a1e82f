"""The port to the credit bureau, and a simulated one."""

from __future__ import annotations

import random
import time
from typing import Final, Protocol
from uuid import UUID

from lepret.common.turns import waiting_elsewhere
from loans.domain.credit_report import BEST_SCORE, WORST_SCORE, CreditReport

KNOWN_SCORES: Final = {"999999aa": 9, "666666aa": 6, "555555aa": 5, "111111aa": 1}
# What may have lowered a score, and how many of them a bad score comes with.
SIMULATED_FACTORS: Final = (
    "late_payments",
    "many_recent_inquiries",
    "high_utilisation",
    "short_history",
    "defaults_on_record",
    "too_many_loans",
    "recent_move",
    "no_income_on_record",
)
_FACTORS_OF_A_BAD_SCORE: Final = 2
_LOWEST_GOOD_SCORE: Final = 7


class CreditBureauUnavailable(Exception):
    """The credit bureau gave no usable score.

    Attributes:
        reason: why, for operators and logs; without personal data.
        retry_after: seconds to wait before asking again, if known.
    """

    def __init__(self, reason: str = "not available", *, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after = retry_after


class CreditBureau(Protocol):
    """What the use cases need from the credit bureau."""

    def report(self, national_id: str, *, idempotency_key: UUID) -> CreditReport:
        """Ask for a person's credit score, from 1 to 10, and for what it comes from.

        Raises:
            CreditBureauUnavailable: there was no usable answer in time.
        """


class SimulatedCreditBureau:
    """Makes up scores in this process, after `latency` seconds.

    A few people have a known score; everyone else gets a random one.
    """

    def __init__(self, *, latency: float = 0.1) -> None:
        self._latency = latency

    def report(self, national_id: str, *, idempotency_key: UUID) -> CreditReport:
        with waiting_elsewhere():
            time.sleep(self._latency)
        return simulated_report(national_id, idempotency_key)


def simulated_report(national_id: str, idempotency_key: UUID) -> CreditReport:
    """A made-up score and what it comes from, always the same for the same person and key."""
    score = simulated_score(national_id, idempotency_key)
    if score >= _LOWEST_GOOD_SCORE:
        return CreditReport(score=score)
    chance = random.Random(f"{national_id.lower()} {idempotency_key}")  # noqa: S311
    factors = chance.sample(SIMULATED_FACTORS, _FACTORS_OF_A_BAD_SCORE)
    return CreditReport(score=score, factors=tuple(factors))


def simulated_score(national_id: str, idempotency_key: UUID) -> int:
    """A made-up score, always the same for the same person and key."""
    known = KNOWN_SCORES.get(national_id.lower())
    if known is not None:
        return known
    return random.Random(idempotency_key.int).randint(WORST_SCORE, BEST_SCORE)  # noqa: S311
