"""`/healthz` and `/readyz`: is this process alive, and can it reach what it needs?"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from channels import DEFAULT_CHANNEL_LAYER
from channels.layers import channel_layers
from django.db import connections
from django.http import HttpRequest, HttpResponse, JsonResponse

from lepret.common.event_store_client import event_store_client

logger = logging.getLogger(__name__)

CHECK_SECONDS: Final = 3.0

Check = Callable[[], Awaitable[None]]


@dataclass(frozen=True)
class Finding:
    """The result of an extra check, and its part of the document of `/readyz`."""

    document: Mapping[str, Any]
    is_ready: bool


# Runs in a thread.
ExtraCheck = Callable[[], Finding]


async def alive(request: HttpRequest) -> HttpResponse:
    """`/healthz`: 200 as long as the process answers."""
    return JsonResponse({"status": "ok"})


async def ready(
    request: HttpRequest, extra: Mapping[str, ExtraCheck] | None = None
) -> HttpResponse:
    """`/readyz`: 200 if everything that is needed answers, else 503; names what does not.

    `extra` has checks of other parts of the project, by the names of their findings in the
    document. A check that fails or takes too long counts as not ready.
    """
    extra = extra or {}
    outcomes, findings = await asyncio.gather(
        asyncio.gather(*(_outcome(name, check) for name, check in _CHECKS.items())),
        asyncio.gather(*(_finding(name, check) for name, check in extra.items())),
    )
    is_ready = all(each == "ok" for each in outcomes) and all(each.is_ready for each in findings)
    document = {
        "status": "ok" if is_ready else "unavailable",
        "checks": dict(zip(_CHECKS, outcomes, strict=True)),
        **{name: found.document for name, found in zip(extra, findings, strict=True)},
    }
    return JsonResponse(document, status=200 if is_ready else 503)


async def _outcome(name: str, check: Check) -> str:
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            await check()
    except Exception as error:  # noqa: BLE001 (whatever it is, this part is not ready)
        logger.warning("Not ready: %s (%s)", name, type(error).__qualname__)
        return "unavailable"
    return "ok"


async def _finding(name: str, check: ExtraCheck) -> Finding:
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            return await asyncio.to_thread(check)
    except Exception as error:  # noqa: BLE001 (whatever it is, there is nothing to tell)
        logger.warning("Not known: %s (%s)", name, type(error).__qualname__)
        return Finding({}, is_ready=False)


async def _check_databases() -> None:
    # In a thread that can be abandoned at the timeout; asgiref would wait for its end.
    await asyncio.to_thread(_query_each_database)


def _query_each_database() -> None:
    try:
        for connection in connections.all():
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1")
    finally:
        connections.close_all()


async def _check_event_store() -> None:
    await asyncio.to_thread(lambda: event_store_client().get_commit_position(timeout=CHECK_SECONDS))


async def _check_channel_layer() -> None:
    await channel_layers[DEFAULT_CHANNEL_LAYER].group_send("readyz", {"type": "ready"})


_CHECKS: Mapping[str, Check] = {
    "database": _check_databases,
    "event_store": _check_event_store,
    "channel_layer": _check_channel_layer,
}
