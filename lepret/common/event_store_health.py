"""Whether the event store answers, and takes events.

On a full disk, and without a leader, reads may go on while every append fails. Only an append shows
that. One of no events does: the store writes an empty record of some bytes, which nobody reads and
a scavenge removes. So no stream grows, and no projection has anything to pass over.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from esdbclient import StreamState
from esdbclient.exceptions import EventStoreDBClientException

from lepret.common.event_store_client import event_store_client

# How often it is tried whether events are taken, as long as no append fails.
TRIED_EVERY_SECONDS: Final = 30.0
_STREAM: Final = "Readiness"


class TakesNoEvents(Exception):
    """The event store answers, and cannot write."""


class EventStoreCheck:
    """Asks the process's event store; after an append has failed, until one works again."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._tries_from = clock()

    def __call__(self, *, timeout: float) -> None:
        """Ask, for no longer than `timeout` seconds.

        Raises:
            EventStoreDBClientException: it does not answer.
            TakesNoEvents: it answers, and cannot write.
        """
        give_up_at = self._clock() + timeout
        client = event_store_client()
        # Of any kind, system events too: the store need not search for it.
        client.get_commit_position(filter_exclude=(), timeout=timeout)
        if not client.append_failed and self._clock() < self._tries_from:
            return
        try:
            client.append_to_stream(
                _STREAM,
                current_version=StreamState.ANY,
                events=[],
                timeout=max(0.1, give_up_at - self._clock()),
            )
        except EventStoreDBClientException as error:
            raise TakesNoEvents("it can be read, and takes no events") from error
        self._tries_from = self._clock() + TRIED_EVERY_SECONDS
