"""Sends applications to the JSON API of a running system, many at a time."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final

import httpx2
import stamina
from stamina.instrumentation import get_on_retry_hooks, set_on_retry_hooks

from loans.domain.loan_request import Status
from loans.simulation.made_up_applications import MadeUpApplication

# A request waits 100 ms for the credit bureau. With this many connections, the server's speed
# limits the rate, and not this wait.
CONNECTIONS: Final = 64
TIMEOUT: Final = httpx2.Timeout(15.0, connect=3.0)
ATTEMPTS: Final = 6
SECONDS_FOR_ALL_ATTEMPTS: Final = 30.0
_RETRIED_STATUSES: Final = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})


class NobodyThere(Exception):
    """Nothing answers at the given address; the message fits on one line."""


@dataclass
class Results:
    """The outcomes of the applications that were sent."""

    outcomes: Counter[Status] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    @property
    def failed(self) -> int:
        """How many got no outcome."""
        return self.failures.total()

    @property
    def total(self) -> int:
        """How many were sent."""
        return self.outcomes.total() + self.failed


async def check_somebody_is_there(url: str) -> None:
    """Check that a server at `url` answers, with any status.

    Raises:
        NobodyThere: it does not.
    """
    try:
        async with _client(url) as client:
            await client.get("healthz")
    except httpx2.TransportError as error:
        raise NobodyThere(
            f"Nothing answers at {url} ({type(error).__name__}); "
            "`manage.py demo` starts a system, --url names another"
        ) from error


async def send(
    applications: Sequence[MadeUpApplication],
    *,
    url: str,
    rate: float | None,
    results: Results,
    on_each: Callable[[], None],
) -> None:
    """Send the applications, and retry transient failures.

    Args:
        url: the system's address, without `/api`.
        rate: how many to send per second; `None` for as many as the system can take.
        results: filled in while this runs, so that an interrupted run has results too.
        on_each: called after each application.
    """
    began = time.monotonic()
    numbered = iter(enumerate(applications))

    async def send_one_after_another(client: httpx2.AsyncClient) -> None:
        for number, application in numbered:  # shared by all tasks
            if rate is not None:
                await asyncio.sleep(began + number / rate - time.monotonic())
            await _send_one(client, application, results)
            results.seconds = time.monotonic() - began
            on_each()

    async with _client(url) as client:
        with _no_log_line_for_each_retry():
            async with asyncio.TaskGroup() as group:
                for _ in range(min(CONNECTIONS, len(applications))):
                    group.create_task(send_one_after_another(client))


def _client(url: str) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(
        base_url=url,
        timeout=TIMEOUT,
        limits=httpx2.Limits(max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS),
        trust_env=False,  # through a proxy, the proxy's speed would be measured
    )


async def _send_one(
    client: httpx2.AsyncClient, application: MadeUpApplication, results: Results
) -> None:
    try:
        results.outcomes[await _outcome(client, application)] += 1
    except httpx2.HTTPStatusError as error:
        results.failures[f"HTTP {error.response.status_code}"] += 1
    except (httpx2.TransportError, ValueError, KeyError) as error:
        results.failures[type(error).__name__] += 1


async def _outcome(client: httpx2.AsyncClient, application: MadeUpApplication) -> Status:
    """Send an application, with retries. They have the same id, so that it is still one loan."""
    async for attempt in stamina.retry_context(
        on=_is_transient, attempts=ATTEMPTS, timeout=SECONDS_FOR_ALL_ATTEMPTS
    ):
        with attempt:
            response = await client.post("api/loan-requests", json=application.as_json())
            response.raise_for_status()
    return Status(response.json()["status"])


def _is_transient(error: Exception) -> bool:
    if isinstance(error, httpx2.HTTPStatusError):
        return error.response.status_code in _RETRIED_STATUSES
    return isinstance(error, httpx2.TransportError)


@contextlib.contextmanager
def _no_log_line_for_each_retry() -> Iterator[None]:
    """Switch off stamina's logging: a server that restarts causes hundreds of retries."""
    hooks = get_on_retry_hooks()
    set_on_retry_hooks(())
    try:
        yield
    finally:
        set_on_retry_hooks(hooks)
