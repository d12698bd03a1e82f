"""The credit bureau over HTTP: asked again after what may pass, and let alone when it is down."""

from __future__ import annotations

import asyncio
import email.utils
import json
import logging
import random
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, TypeVar
from uuid import UUID

import httpx2
import stamina
from circuitbreaker import CircuitBreaker
from pydantic import BaseModel, ConfigDict, ValidationError

from loans.adapters.credit_bureau import CreditBureauUnavailable
from loans.domain.credit_score import CreditScore

logger = logging.getLogger(__name__)

T = TypeVar("T")

MOST_CONNECTIONS: Final = 100
LONGEST_BODY_BYTES: Final = 16 * 1024
# A number or a truth value that an operator is told as it is; what is longer could be anything.
LONGEST_VALUE_TOLD: Final = 5
LONGEST_RETRY_AFTER_SECONDS: Final = 24 * 60 * 60.0


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long the credit bureau is waited for, and how often it is asked. Times in seconds.

    Attributes:
        connect_timeout: for a connection, and for one in the pool to become free.
        read_timeout: from one piece of an answer to the next, the first included.
        deadline: for one score with all attempts and the waits between them.
        attempts: how often it is asked for one score.
        failures: after so many in a row, whichever calls they were for, nobody asks any more.
        pause: after which one call tries. If that goes well, all ask again.
    """

    connect_timeout: float
    read_timeout: float
    deadline: float
    attempts: int
    failures: int
    pause: float


class _MayPass(CreditBureauUnavailable):
    """A failure of the kind that is gone a moment later: worth another attempt."""


class _Refused(CreditBureauUnavailable):
    """The credit bureau works, and says that the fault is on this side."""


class _NotAsked(CreditBureauUnavailable):
    """It failed so often just now that it was not asked at all."""


class HttpCreditBureau:
    """The credit bureau over HTTP: `POST {base_url}/scores` with `{"national_id": ...}`.

    The national ID travels in the body, since addresses end up in logs on the way. All attempts
    for one score have the same `Idempotency-Key`.

    Any number of threads may ask at the same time. The requests themselves are made in an event
    loop, since only there can all of an attempt be broken off when the deadline has come: the
    look-up of the name and headers that arrive byte by byte, too.
    """

    def __init__(self, base_url: str, patience: Patience) -> None:
        self._patience = patience
        self._breaker = _Breaker(failures=patience.failures, pause=patience.pause)
        self._client = _client(base_url, patience)
        self._loop = _LoopInThread()

    def score(self, national_id: str, *, idempotency_key: UUID) -> int:
        deadline = time.monotonic() + self._patience.deadline
        scoring = self._score(national_id, idempotency_key, deadline)
        try:
            return self._loop.run(scoring, timeout=self._patience.deadline)
        except TimeoutError:
            raise CreditBureauUnavailable("timed out") from None

    def close(self) -> None:
        """Close its connections, and end its thread."""
        self._loop.run(self._client.aclose(), timeout=self._patience.deadline)
        self._loop.close()

    async def _score(self, national_id: str, idempotency_key: UUID, deadline: float) -> int:
        async for attempt in stamina.retry_context(
            on=self._wait_before_another(deadline),
            attempts=self._patience.attempts,
            timeout=None,
            wait_initial=0.1,
            wait_max=1.0,
            wait_jitter=0.2,
        ):
            with attempt, self._breaker.asking():
                return await self._ask(national_id, idempotency_key)
        raise AssertionError("retry_context either returns or raises")

    def _wait_before_another(self, deadline: float) -> Callable[[Exception], bool | float]:
        def wait(failure: Exception) -> bool | float:
            if not isinstance(failure, _MayPass) or self._breaker.is_open:
                return False
            if failure.retry_after is None:
                return True
            # Not all who were told the same come back in the same moment.
            delay = failure.retry_after + random.uniform(0, 0.2)  # noqa: S311
            return delay if time.monotonic() + delay < deadline else False

        return wait

    async def _ask(self, national_id: str, idempotency_key: UUID) -> int:
        request = self._client.build_request(
            "POST",
            "/scores",
            json={"national_id": national_id},
            headers={"Idempotency-Key": str(idempotency_key)},
        )
        try:
            response = await self._client.send(request, stream=True)
            try:
                return await _score_in(response)
            finally:
                await response.aclose()
        except httpx2.HTTPError as error:
            # `from None`, here and below: what was asked or answered may hold the national ID.
            raise _MayPass(_in_words(error)) from None


def _client(base_url: str, patience: Patience) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(
        base_url=base_url,
        # A compressed answer could be far longer than it looks.
        headers={"Accept": "application/json", "Accept-Encoding": "identity"},
        timeout=httpx2.Timeout(
            patience.read_timeout,
            connect=patience.connect_timeout,
            pool=patience.connect_timeout,
        ),
        limits=httpx2.Limits(
            max_connections=MOST_CONNECTIONS, max_keepalive_connections=MOST_CONNECTIONS
        ),
    )


async def _score_in(response: httpx2.Response) -> int:
    status = response.status_code
    if response.is_server_error or status == httpx2.codes.TOO_MANY_REQUESTS:
        raise _MayPass(f"answered {status}", retry_after=_retry_after(response))
    if response.is_client_error:
        raise _Refused(f"refused to answer ({status})")
    if not response.is_success:
        raise CreditBureauUnavailable(f"answered {status}, which is no answer")
    if _media_type(response) != "application/json":
        raise CreditBureauUnavailable("answered with something other than JSON")
    return _score_of(await _body_of(response))


def _media_type(response: httpx2.Response) -> str:
    return response.headers.get("Content-Type", "").partition(";")[0].strip().lower()


async def _body_of(response: httpx2.Response) -> bytes:
    body = b""
    async for piece in response.aiter_raw():
        body += piece
        if len(body) > LONGEST_BODY_BYTES:
            raise CreditBureauUnavailable("answered far too much")
    return body


class _ScoreAnswer(BaseModel):
    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

    score: CreditScore


def _score_of(body: bytes) -> int:
    try:
        return _ScoreAnswer.model_validate_json(body).score
    except ValidationError as error:
        problem = error.errors(include_url=False, include_context=False)[0]
    if problem["type"] == "json_invalid":
        raise CreditBureauUnavailable("answered with something other than JSON")
    if problem["type"] == "missing" or not problem["loc"]:
        raise CreditBureauUnavailable("answered without a score")
    raise CreditBureauUnavailable(f"answered a score {_value_in_words(problem['input'])}")


def _value_in_words(value: object) -> str:
    if value is None or isinstance(value, bool | int | float):
        text = json.dumps(value)
        if len(text) <= LONGEST_VALUE_TOLD:
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
    """The seconds that the header asks for, 0 or more; `None` where there is none to be read.

    Seconds or a date: RFC 9110, section 10.2.3.
    """
    text = response.headers.get("Retry-After", "")
    seconds = float(text) if text.isascii() and text.isdigit() else _seconds_until(text)
    return None if seconds is None else min(max(seconds, 0.0), LONGEST_RETRY_AFTER_SECONDS)


def _seconds_until(http_date: str) -> float | None:
    try:
        date = email.utils.parsedate_to_datetime(http_date)
    except (ValueError, OverflowError, IndexError):
        return None
    date = date if date.tzinfo else date.replace(tzinfo=UTC)
    return (date - datetime.now(UTC)).total_seconds()


class _Breaker:
    """Lets nobody ask where many in a row have failed, until a pause is over and one has tried.

    For one thread, as the event loop is: nothing here takes a lock.
    """

    def __init__(self, *, failures: int, pause: float) -> None:
        self._circuit = CircuitBreaker(failures, pause, expected_exception=_is_failure)
        self._is_being_tried = False
        self._is_said_to_work = True

    @property
    def is_open(self) -> bool:
        """Whether nobody may ask."""
        return bool(self._circuit.opened)

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Around each attempt.

        Raises:
            _NotAsked: leave it.
        """
        if self._circuit.closed:
            with self._counted():
                yield
            return
        if self._circuit.opened or self._is_being_tried:
            raise _NotAsked("not asked: it failed too often just now", retry_after=self._rest)
        self._is_being_tried = True
        try:
            with self._counted():
                yield
        finally:
            self._is_being_tried = False

    @property
    def _rest(self) -> float:
        return max(float(self._circuit.open_remaining), 0.0)

    @contextmanager
    def _counted(self) -> Iterator[None]:
        try:
            with self._circuit:
                yield
        finally:
            self._tell_of_change()

    def _tell_of_change(self) -> None:
        works = bool(self._circuit.closed)
        if works == self._is_said_to_work:
            return
        self._is_said_to_work = works
        if works:
            logger.info("The credit bureau answers again")
        else:
            logger.warning(
                "The credit bureau failed %d times in a row: from now on one call at a time "
                "tries it, and the others do not wait",
                self._circuit.failure_count,
            )


def _is_failure(kind: type[BaseException], _: BaseException) -> bool:
    # Cancelled is what did not end before the deadline.
    return issubclass(kind, CreditBureauUnavailable | asyncio.CancelledError) and not issubclass(
        kind, _Refused
    )


class _LoopInThread:
    """An event loop in a thread of its own, for callers in any other."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="credit-bureau", daemon=True
        )
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, T], *, timeout: float) -> T:
        """What the coroutine returns or raises; it is cancelled after so many seconds.

        Raises:
            TimeoutError: that was too short.
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
