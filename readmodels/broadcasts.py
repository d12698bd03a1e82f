"""The only place that talks to the channel layer's groups.

A broadcast carries ids, never rows: whoever hears it reads the row again. It is a hint that may be
lost, so that sending one never fails a projection.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from typing import Any, Final, Self
from uuid import UUID

from channels import DEFAULT_CHANNEL_LAYER
from channels.layers import channel_layers

logger = logging.getLogger(__name__)

UNDERWRITING: Final = "underwriting"
SEND_TIMEOUT_SECONDS: Final = 2.0

# The name of the consumers' handler method.
CHANGED: Final = "changed"


def loan_request_group(loan_request_id: UUID) -> str:
    """The group of those who watch one loan request."""
    return f"loan-request.{loan_request_id.hex}"


class Broadcaster:
    """Sends to groups from ordinary threads, without making them wait.

    It has an event loop of its own: a channel layer keeps its connections per loop, so a loop per
    call would connect anew each time.
    """

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="broadcasts", daemon=True
        )
        self._is_down = False

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def send(self, changes: Mapping[str, Iterable[UUID]]) -> Future[None]:
        """Tell each group which loan requests have changed. Returns at once."""
        messages = {
            group: {"type": CHANGED, "ids": [str(each) for each in ids]}
            for group, ids in changes.items()
        }
        return asyncio.run_coroutine_threadsafe(self._send_all(messages), self._loop)

    async def _send_all(self, messages: Mapping[str, dict[str, Any]]) -> None:
        layer = channel_layers[DEFAULT_CHANNEL_LAYER]
        try:
            async with asyncio.timeout(SEND_TIMEOUT_SECONDS):
                for group, message in messages.items():
                    await layer.group_send(group, message)
        except Exception as error:  # noqa: BLE001 (whatever a channel layer raises when it is away)
            self._note_loss(error)
        else:
            self._note_success()

    def _note_loss(self, error: Exception) -> None:
        if not self._is_down:
            logger.warning("Lost the channel layer (%s): pages update late", type(error).__name__)
        self._is_down = True

    def _note_success(self) -> None:
        if self._is_down:
            logger.info("Regained the channel layer")
        self._is_down = False
