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
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.http import require_safe

from lepret.common.event_store_health import EventStoreCheck
from lepret.common.insiders import is_insider

logger = logging.getLogger(__name__)

CHECK_SECONDS: Final = 3.0
# How long an outcome holds: no flood of calls asks the services more often.
HOLDS_SECONDS: Final = 1.0

T = TypeVar("T")
Check = Callable[[], Awaitable[None]]
Document = dict[str, Any]
View = Callable[[HttpRequest], Coroutine[Any, Any, HttpResponse]]


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

    It tells insiders what does not answer, and others only the status. `extra` has checks of other
    parts of the project, by the names of their findings in the document. A check that fails or
    takes too long counts as not ready. All callers within `holds_seconds` share one round of
    checks.
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
                self._running = Future()
                threading.Thread(
                    target=self._run, args=(self._running,), name=self._name, daemon=True
                ).start()
            return self._running

    def _run(self, future: Future[T]) -> None:
        try:
            future.set_result(self._function())
        except Exception as error:  # noqa: BLE001 (handed over to those who ask)
            future.set_exception(error)


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
    outcomes, findings = await asyncio.gather(
        asyncio.gather(*(_outcome(name, check) for name, check in _CHECKS.items())),
        asyncio.gather(*(_finding(name, check) for name, check in extra.items())),
    )
    is_ready = all(each == "ok" for each in outcomes) and all(each.is_ready for each in findings)
    return {
        "status": "ok" if is_ready else "unavailable",
        "checks": dict(zip(_CHECKS, outcomes, strict=True)),
        **{name: found.document for name, found in zip(extra, findings, strict=True)},
    }


async def _outcome(name: str, check: Check) -> str:
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            await check()
    except Exception as error:  # noqa: BLE001 (whatever it is, this part is not ready)
        logger.warning("Not ready: %s (%s)", name, type(error).__qualname__)
        return "unavailable"
    return "ok"


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
            closing(_connection_outside_the_pool(alias)) as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute("SELECT 1")


def _connection_outside_the_pool(alias: str) -> BaseDatabaseWrapper:
    # Requests that hang may have all of the pool.
    connection = connections.create_connection(alias)
    options = {**connection.settings_dict["OPTIONS"]}
    options.pop("pool", None)
    connection.settings_dict = {**connection.settings_dict, "OPTIONS": options}
    return connection


_event_store = EventStoreCheck()


async def _check_channel_layer() -> None:
    await channel_layers[DEFAULT_CHANNEL_LAYER].group_send("readyz", {"type": "ready"})


_CHECKS: Mapping[str, Check] = {
    "database": InOneThread("database check", _query_each_database),
    "event_store": InOneThread("event store check", partial(_event_store, timeout=CHECK_SECONDS)),
    "channel_layer": _check_channel_layer,
}
