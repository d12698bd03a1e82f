"""`/healthz` and `/readyz`: is this process alive, and can it reach what it needs?

What one check waits for must not make another one late. So each has a thread and a time-out of its
own, and a connection that no request can hold. There is one of each at a time, however many ask.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Generic, TypeVar

from channels import DEFAULT_CHANNEL_LAYER
from channels.layers import channel_layers
from django.db import Error as DatabaseError
from django.db import connections
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.http import require_safe
from redis.exceptions import RedisError

from lepret.common.databases import connection_outside_the_pool
from lepret.common.event_store_client import why_refused
from lepret.common.event_store_health import EventStoreCheck, TakesNoEvents
from lepret.common.insiders import is_insider
from lepret.common.outages import Outage

logger = logging.getLogger(__name__)

CHECK_SECONDS: Final = 3.0
# Less, so that there is time to find out why.
_EVENT_STORE_SECONDS: Final = 2.5
# How long an outcome holds: no flood of calls asks the services more often.
HOLDS_SECONDS: Final = 1.0

T = TypeVar("T")
Document = dict[str, Any]
View = Callable[[HttpRequest], Coroutine[Any, Any, HttpResponse]]


class Refused(Exception):
    """A part that is needed refuses to answer us; the message says why, and what to do."""


# Their messages say what is wrong, and have no secrets.
_TELLING: Final = (Refused, TakesNoEvents, DatabaseError, RedisError)


@dataclass(frozen=True)
class Finding:
    """The result of an extra check, and its part of the document of `/readyz`."""

    document: Mapping[str, Any]
    is_ready: bool


# Runs in a thread.
ExtraCheck = Callable[[], Finding]


@require_safe
async def alive(request: HttpRequest) -> HttpResponse:
    """`/healthz`: 200 as long as the process answers."""
    return JsonResponse({"status": "ok"})


def readiness(
    extra: Mapping[str, ExtraCheck] | None = None, *, holds_seconds: float = HOLDS_SECONDS
) -> View:
    """The view of `/readyz`: 200 if everything that is needed answers, else 503.

    It tells insiders what does not answer and why, and others only the status. `extra` has checks
    of other parts of the project, by the names of their findings in the document. A check that
    fails or takes too long counts as not ready. All callers within `holds_seconds` share one round
    of checks.
    """
    findings = {name: InOneThread(name, check) for name, check in (extra or {}).items()}
    checks = _Shared(partial(_check_all, findings), holds_seconds)

    @require_safe
    async def ready(request: HttpRequest) -> HttpResponse:
        document = await checks.outcome()
        status = document["status"]
        if not is_insider(request):
            document = {"status": status}
        return JsonResponse(document, status=200 if status == "ok" else 503)

    return ready


class InOneThread(Generic[T]):
    """Calls a function in a thread; whoever asks while it runs shares its result.

    It may hang for any time, and then takes up one thread.
    """

    def __init__(self, name: str, function: Callable[[], T]) -> None:
        self._name = name
        self._function = function
        self._lock = threading.Lock()
        self._running: Future[T] | None = None

    async def __call__(self) -> T:
        """The result. Who gives up waiting does not end it."""
        return await asyncio.shield(asyncio.wrap_future(self._future()))

    def _future(self) -> Future[T]:
        with self._lock:
            if self._running is None or self._running.done():
                self._running = in_thread(self._name, self._function)
            return self._running


def in_thread(name: str, function: Callable[[], T]) -> Future[T]:
    """Call a function in a thread of this name. It may hang: no process waits for it to end."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(function())
        except Exception as error:  # noqa: BLE001 (handed over to those who ask)
            future.set_exception(error)

    threading.Thread(target=run, name=name, daemon=True).start()
    return future


class _Shared:
    """The outcome of a round of checks, for all who ask while it runs or soon after it."""

    def __init__(self, check: Callable[[], Coroutine[Any, Any, Document]], seconds: float) -> None:
        self._check: Final = check
        self._seconds: Final = seconds
        self._round: asyncio.Task[Document] | None = None
        self._ended_at = 0.0

    async def outcome(self) -> Document:
        """The outcome of this round or, if it ended too long ago, of the next one."""
        if self._round is None or not self._holds(self._round):
            self._round = asyncio.create_task(self._check())
            self._round.add_done_callback(self._note_end)
        # A caller that goes away does not end the round of the others.
        return await asyncio.shield(self._round)

    def _holds(self, last: asyncio.Task[Document]) -> bool:
        if last.get_loop() is not asyncio.get_running_loop():
            return False
        return not last.done() or time.monotonic() - self._ended_at < self._seconds

    def _note_end(self, _: asyncio.Task[Document]) -> None:
        self._ended_at = time.monotonic()


async def _check_all(extra: Mapping[str, InOneThread[Finding]]) -> Document:
    whys, findings = await asyncio.gather(
        asyncio.gather(*(_why_not(check) for check in _CHECKS)),
        asyncio.gather(*(_finding(name, check) for name, check in extra.items())),
    )
    reasons = {check.name: why for check, why in zip(_CHECKS, whys, strict=True) if why}
    is_ready = not reasons and all(each.is_ready for each in findings)
    return {
        "status": "ok" if is_ready else "unavailable",
        "checks": {each.name: "unavailable" if each.name in reasons else "ok" for each in _CHECKS},
        "reasons": reasons,
        **{name: found.document for name, found in zip(extra, findings, strict=True)},
    }


async def _why_not(check: _Check) -> str | None:
    """Why this part is not ready; `None` if it is."""
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            await check.ask()
    except Exception as error:  # noqa: BLE001 (whatever it is, this part is not ready)
        why = _in_words(error)
        check.outage.begin(type(error).__qualname__, why)
        return why
    check.outage.end()
    return None


def _in_words(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"it gave no answer within {CHECK_SECONDS:g} s"
    if isinstance(error, _TELLING):
        return " ".join(str(error).split())
    return f"it does not answer ({type(error).__qualname__})"


async def _finding(name: str, check: InOneThread[Finding]) -> Finding:
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            return await check()
    except Exception as error:  # noqa: BLE001 (whatever it is, there is nothing to tell)
        logger.warning("Not known: %s (%s)", name, type(error).__qualname__)
        return Finding({}, is_ready=False)


def _query_each_database() -> None:
    for alias in connections:
        with (
            closing(connection_outside_the_pool(alias)) as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute("SELECT 1")


_event_store = EventStoreCheck()


def _check_event_store() -> None:
    try:
        _event_store(timeout=_EVENT_STORE_SECONDS)
    except Exception as error:
        if why := why_refused(error):
            raise Refused(why) from error
        raise


async def _check_channel_layer() -> None:
    await channel_layers[DEFAULT_CHANNEL_LAYER].group_send("readyz", {"type": "ready"})


@dataclass(frozen=True)
class _Check:
    """A part that is needed: its name in the document, what asks it, and its outage in the log."""

    name: str
    ask: Callable[[], Awaitable[None]]
    outage: Outage


def _check(name: str, ask: Callable[[], Awaitable[None]]) -> _Check:
    return _Check(name, ask, Outage(logger, f"the {name.replace('_', ' ')}", of="/readyz"))


_CHECKS: Final = (
    _check("database", InOneThread("database check", _query_each_database)),
    _check("event_store", InOneThread("event store check", _check_event_store)),
    _check("channel_layer", _check_channel_layer),
)
