"""The credit bureau over HTTP, with retries, a deadline and a circuit breaker."""

from __future__ import annotations

import asyncio
import email.utils
import json
import logging
import random
import threading
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, TypeVar
from uuid import UUID

import httpx2
import stamina
from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from lepret.common.outages import Outage
from lepret.common.turns import waiting_elsewhere
from loans.adapters.circuit_breaker import CircuitBreaker, CircuitOpen
from loans.adapters.credit_bureau import CreditBureauUnavailable
from loans.domain.credit_report import MOST_FACTORS, CreditReport, CreditScore, Factors

logger = logging.getLogger(__name__)

T = TypeVar("T")

MOST_CONNECTIONS: Final = 100
LONGEST_BODY_BYTES: Final = 16 * 1024
# Longer values are kept out of error messages: in place of a score, they could be a national ID.
LONGEST_VALUE_SHOWN: Final = 5
LONGEST_RETRY_AFTER_SECONDS: Final = 24 * 60 * 60.0


@dataclass(frozen=True, kw_only=True)
class CallPolicy:
    """How long to wait for the credit bureau, and how often to ask it. Times are in seconds.

    Attributes:
        connect_timeout: for a new connection, and for one in the pool to become free.
        read_timeout: until the first part of an answer, and between its parts.
        deadline: for one score, including all attempts and the waits between them.
        attempts: how often to ask for one score, at most.
        failures: how many in a row open the circuit breaker.
        pause: how long the open circuit breaker waits before it lets one call through.
    """

    connect_timeout: float
    read_timeout: float
    deadline: float
    attempts: int
    failures: int
    pause: float


class _Transient(CreditBureauUnavailable):
    """A failure that may soon be over: another attempt makes sense."""


class _Refused(CreditBureauUnavailable):
    """The credit bureau works, and answered that the request is wrong (4xx)."""


class HttpCreditBureau:
    """The credit bureau over HTTP: `POST {base_url}/scores` with `{"national_id": ...}`.

    The answer has a `score`. It may have `factors`, the codes of what has lowered it most, and
    `scored_at`, the moment of it with its zone. Old clearing houses know neither.

    The national ID is sent in the body, since URLs end up in the logs of proxies. All attempts for
    one score have the same `Idempotency-Key`.

    Any number of threads may ask at the same time. All requests run in one event loop, where the
    deadline can cancel any wait: even a DNS lookup, or headers that arrive byte by byte.
    """

    def __init__(self, base_url: str, policy: CallPolicy) -> None:
        self._policy = policy
        self._breaker = CircuitBreaker(
            failures=policy.failures,
            pause=policy.pause,
            is_failure=_is_failure,
            outage=Outage(logger, "the credit bureau", consequence="one call at a time tries it"),
        )
        self._client = _client(base_url, policy)
        self._loop = _LoopInThread()

    def report(self, national_id: str, *, idempotency_key: UUID) -> CreditReport:
        deadline = time.monotonic() + self._policy.deadline
        asking = self._report(national_id, idempotency_key, deadline)
        try:
            with waiting_elsewhere():
                return self._loop.run(asking, timeout=self._policy.deadline)
        except TimeoutError:
            raise CreditBureauUnavailable("timed out") from None
        except CircuitOpen as refusal:
            raise CreditBureauUnavailable(
                "not asked: it failed too often just now", retry_after=refusal.retry_after
            ) from None

    def close(self) -> None:
        """Close the connections, and end the event loop's thread."""
        self._loop.run(self._client.aclose(), timeout=self._policy.deadline)
        self._loop.close()

    async def _report(
        self, national_id: str, idempotency_key: UUID, deadline: float
    ) -> CreditReport:
        async for attempt in stamina.retry_context(
            on=self._backoff_hook(deadline),
            attempts=self._policy.attempts,
            timeout=None,
            wait_initial=0.1,
            wait_max=1.0,
            wait_jitter=0.2,
        ):
            with attempt, self._breaker.call():
                return await self._ask(national_id, idempotency_key)
        raise AssertionError("retry_context either returns or raises")

    def _backoff_hook(self, deadline: float) -> Callable[[Exception], bool | float]:
        def backoff(failure: Exception) -> bool | float:
            if not isinstance(failure, _Transient) or self._breaker.is_open:
                return False
            if failure.retry_after is None:
                return True
            # With jitter, so that callers with the same delay do not all return at once.
            delay = failure.retry_after + random.uniform(0, 0.2)  # noqa: S311
            return delay if time.monotonic() + delay < deadline else False

        return backoff

    async def _ask(self, national_id: str, idempotency_key: UUID) -> CreditReport:
        request = self._client.build_request(
            "POST",
            "/scores",
            json={"national_id": national_id},
            headers={"Idempotency-Key": str(idempotency_key)},
        )
        try:
            response = await self._client.send(request, stream=True)
            try:
                return await _report_in(response)
            finally:
                await response.aclose()
        except httpx2.HTTPError as error:
            # `from None`: the cause holds the request, and so the national ID.
            raise _Transient(_in_words(error)) from None


def _client(base_url: str, policy: CallPolicy) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(
        base_url=base_url,
        # A compressed answer could be far longer than its `Content-Length`.
        headers={"Accept": "application/json", "Accept-Encoding": "identity"},
        timeout=httpx2.Timeout(
            policy.read_timeout,
            connect=policy.connect_timeout,
            pool=policy.connect_timeout,
        ),
        limits=httpx2.Limits(
            max_connections=MOST_CONNECTIONS, max_keepalive_connections=MOST_CONNECTIONS
        ),
    )


async def _report_in(response: httpx2.Response) -> CreditReport:
    status = response.status_code
    if response.is_server_error or status == httpx2.codes.TOO_MANY_REQUESTS:
        raise _Transient(f"answered {status}", retry_after=_retry_after(response))
    if response.is_client_error:
        raise _Refused(f"refused to answer ({status})")
    if not response.is_success:
        raise CreditBureauUnavailable(f"answered {status}, which is no answer")
    if _media_type(response) != "application/json":
        raise CreditBureauUnavailable("answered with something other than JSON")
    return _report_of(await _body_of(response))


def _media_type(response: httpx2.Response) -> str:
    return response.headers.get("Content-Type", "").partition(";")[0].strip().lower()


async def _body_of(response: httpx2.Response) -> bytes:
    body = b""
    async for piece in response.aiter_raw():
        body += piece
        if len(body) > LONGEST_BODY_BYTES:
            raise CreditBureauUnavailable("answered far too much")
    return body


class _Answer(BaseModel):
    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

    score: CreditScore
    factors: Factors | None = None
    scored_at: AwareDatetime | None = None


def _report_of(body: bytes) -> CreditReport:
    try:
        answer = _Answer.model_validate_json(body)
    except ValidationError as error:
        raise CreditBureauUnavailable(_what_is_wrong_with(error)) from None
    return CreditReport(
        score=answer.score, factors=answer.factors or (), scored_at=answer.scored_at
    )


def _what_is_wrong_with(error: ValidationError) -> str:
    problem = error.errors(include_url=False, include_context=False)[0]
    if problem["type"] == "json_invalid":
        return "answered with something other than JSON"
    if problem["type"] == "missing" or not problem["loc"]:
        return "answered without a score"
    match problem["loc"][0]:
        case "factors":
            return f"answered factors that are not up to {MOST_FACTORS} codes"
        case "scored_at":
            return "answered a moment of scoring that is none"
        case _:
            return f"answered a score {_value_in_words(problem['input'])}"


def _value_in_words(value: object) -> str:
    if value is None or isinstance(value, bool | int | float):
        text = json.dumps(value)
        if len(text) <= LONGEST_VALUE_SHOWN:
            return f"of {text}"
    return "that is none"


def _in_words(error: httpx2.HTTPError) -> str:
    match error:
        case httpx2.PoolTimeout():
            return "not asked: all connections to it are busy"
        case httpx2.ConnectTimeout() | httpx2.ConnectError():
            return "could not be reached"
        case httpx2.TimeoutException():
            return "timed out"
        case httpx2.NetworkError():
            return "broke off the connection"
        case httpx2.RemoteProtocolError():
            return "broke off the connection, or did not keep to HTTP"
    return f"could not be asked ({type(error).__name__})"


def _retry_after(response: httpx2.Response) -> float | None:
    """The delay in seconds that the response asks for; `None` if it asks for none.

    The header holds seconds or a date: RFC 9110, section 10.2.3.
    """
    text = response.headers.get("Retry-After", "")
    if text.isascii() and text.isdigit():
        seconds: float | None = float(text)
    else:
        # By the clock there, if the answer tells it: ours may be another.
        now = _moment_in(response.headers.get("Date", "")) or datetime.now(UTC)
        until = _moment_in(text)
        seconds = None if until is None else (until - now).total_seconds()
    return None if seconds is None else min(max(seconds, 0.0), LONGEST_RETRY_AFTER_SECONDS)


def _moment_in(http_date: str) -> datetime | None:
    try:
        date = email.utils.parsedate_to_datetime(http_date)
    except (ValueError, OverflowError, IndexError):
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)


def _is_failure(error: BaseException) -> bool:
    # At the deadline, a call is cancelled.
    is_unanswered = isinstance(error, CreditBureauUnavailable | asyncio.CancelledError)
    return is_unanswered and not isinstance(error, _Refused)


class _LoopInThread:
    """An event loop in its own thread. Other threads run coroutines in it."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="credit-bureau", daemon=True
        )
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, T], *, timeout: float) -> T:
        """Run a coroutine for at most `timeout` seconds, and return its result.

        Raises:
            TimeoutError: it took longer, and was cancelled.
        """
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result(timeout)
        finally:
            future.cancel()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
