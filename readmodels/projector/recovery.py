"""How a follower or a rebuild waits when the event store or the database is away."""

from __future__ import annotations

import logging
import threading
from typing import Final

from django.db import connections

from lepret.common.backoff import Backoff
from lepret.common.event_store_client import why_refused
from lepret.common.outages import Outage
from readmodels.projector.batches import DatabaseAway
from readmodels.projector.feeds import EVENT_STORE_AWAY

logger = logging.getLogger(__name__)


class Recovery:
    """Waits between attempts, longer each time, and logs each loss and its end once.

    `of` names the follower or the rebuild in the log.
    """

    def __init__(self, of: str, *, stop: threading.Event, backoff: Backoff) -> None:
        self._stop: Final = stop
        self._backoff: Final = backoff
        self._event_store: Final = Outage(logger, "the event store", of=of)
        self._database: Final = Outage(logger, "the database", of=of)

    def wait_after(self, loss: Exception) -> None:
        """Log that the event store or the database is away, and wait."""
        kind = type(loss).__qualname__
        if isinstance(loss, EVENT_STORE_AWAY):
            self._event_store.begin(kind, why_refused(loss))
        else:
            self._database.begin(str(loss) if isinstance(loss, DatabaseAway) else kind)
        self.wait()

    def wait(self) -> None:
        """Wait before the next attempt. It gets new connections: the old ones may be broken."""
        connections.close_all()
        self._stop.wait(self._backoff.next_delay())

    def progress(self) -> None:
        """Something was committed: the next wait is a short one."""
        self._backoff.reset()

    def end(self) -> None:
        """All that was away is back."""
        self._backoff.reset()
        self._event_store.end()
        self._database.end()
