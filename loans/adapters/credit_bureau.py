"""The credit bureau: what the use cases need of it, and one that is simulated."""

from __future__ import annotations

import random
import time
from typing import Final, Protocol
from uuid import UUID

from loans.domain.credit_score import BEST_SCORE, WORST_SCORE

KNOWN_SCORES: Final = {"999999aa": 9, "666666aa": 6, "555555aa": 5, "111111aa": 1}


class CreditBureauUnavailable(Exception):
    """No usable score could be had from the credit bureau.

    Attributes:
        reason: why, fit for an operator's eyes and for a log: it holds no personal data.
        retry_after: in how many seconds asking again is worth while, where that is known.
    """

    def __init__(self, reason: str = "not available", *, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after = retry_after


class CreditBureau(Protocol):
    """What the use cases need of the credit bureau."""

    def score(self, national_id: str, *, idempotency_key: UUID) -> int:
        """The credit score of a person, 1 to 10.

        Raises:
            CreditBureauUnavailable: no usable answer in time.
        """


class SimulatedCreditBureau:
    """A credit bureau that needs nothing: a few known people, and a random score for all others.

    `latency` is in seconds.
    """

    def __init__(self, *, latency: float = 0.1) -> None:
        self._latency = latency

    def score(self, national_id: str, *, idempotency_key: UUID) -> int:
        time.sleep(self._latency)
        return simulated_score(national_id, idempotency_key)


def simulated_score(national_id: str, idempotency_key: UUID) -> int:
    """A score that stays the same, whenever it is asked for with the same key."""
    known = KNOWN_SCORES.get(national_id.lower())
    if known is not None:
        return known
    return random.Random(idempotency_key.int).randint(WORST_SCORE, BEST_SCORE)  # noqa: S311
