"""The credit clearing house: a port, and two adapters for it, one over HTTP and one simulated."""

from __future__ import annotations

import random
import time
from typing import Final, Protocol
from uuid import UUID

import httpx2
import stamina
from pydantic import BaseModel, ConfigDict, ValidationError

from loans.domain.credit_score import BEST_SCORE, WORST_SCORE, CreditScore


class CreditBureauUnavailable(Exception):
    """No usable score could be had from the clearing house."""


class CreditBureau(Protocol):
    """What the use cases need of the clearing house."""

    def score(self, national_id: str, *, idempotency_key: UUID) -> int:
        """The credit score of a person, 1 to 10.

        Raises:
            CreditBureauUnavailable: no usable answer in time.
        """


class SimulatedCreditBureau:
    """A clearing house that needs nothing: a few known people, and a random score for all others.

    `latency` is in seconds.
    """

    KNOWN_SCORES: Final = {"999999aa": 9, "666666aa": 6, "555555aa": 5, "111111aa": 1}

    def __init__(self, *, latency: float = 0.1) -> None:
        self._latency = latency

    def score(self, national_id: str, *, idempotency_key: UUID) -> int:
        time.sleep(self._latency)
        known = self.KNOWN_SCORES.get(national_id.lower())
        if known is not None:
            return known
        # Seeded with the key, so that asking again for the same request gives the same score.
        return random.Random(idempotency_key.int).randint(WORST_SCORE, BEST_SCORE)  # noqa: S311


class _ScoreAnswer(BaseModel):
    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

    score: CreditScore


class _Overloaded(Exception):
    """The clearing house answered that it cannot serve at the moment."""


class HttpCreditBureau:
    """The clearing house over HTTP: `POST {base_url}/scores` with `{"national_id": ...}`.

    The national ID travels in the body, since addresses end up in logs on the way.
    """

    def __init__(self, client: httpx2.Client, *, attempts: int) -> None:
        self._client = client
        self._attempts = attempts

    @classmethod
    def at(
        cls, base_url: str, *, connect_timeout: float, read_timeout: float, attempts: int
    ) -> HttpCreditBureau:
        """An adapter with a connection pool of its own; time-outs in seconds, for each attempt."""
        timeout = httpx2.Timeout(read_timeout, connect=connect_timeout)
        return cls(httpx2.Client(base_url=base_url, timeout=timeout), attempts=attempts)

    def score(self, national_id: str, *, idempotency_key: UUID) -> int:
        try:
            return self._score_with_retries(national_id, idempotency_key)
        except (httpx2.HTTPError, _Overloaded, ValidationError) as error:
            # `from None`: the request in the original error holds the national ID.
            raise CreditBureauUnavailable(type(error).__name__) from None

    def _score_with_retries(self, national_id: str, idempotency_key: UUID) -> int:
        for attempt in stamina.retry_context(
            on=(httpx2.TransportError, _Overloaded),
            attempts=self._attempts,
            timeout=None,
            wait_initial=0.1,
            wait_max=1.0,
            wait_jitter=0.2,
        ):
            with attempt:
                return self._ask(national_id, idempotency_key)
        raise AssertionError("retry_context either returns or raises")

    def _ask(self, national_id: str, idempotency_key: UUID) -> int:
        response = self._client.post(
            "/scores",
            json={"national_id": national_id},
            headers={"Idempotency-Key": str(idempotency_key)},
        )
        if response.is_server_error or response.status_code == httpx2.codes.TOO_MANY_REQUESTS:
            raise _Overloaded
        response.raise_for_status()
        return _ScoreAnswer.model_validate_json(response.content).score
