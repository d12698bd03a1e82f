"""Work that nobody has to wait for."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

logger = logging.getLogger(__name__)

Work = Callable[[], object]
Do = Callable[[Work], None]
"""Does a piece of work, now or in a moment."""


def at_once(work: Work) -> None:
    """Do it now: for whoever has nothing else to do."""
    work()


class Aside:
    """Does one piece of work at a time, in a thread of its own.

    While that is busy, whoever asks does the work. So nothing piles up, and a process that stops
    has to wait for one piece at most.
    """

    def __init__(self, name: str) -> None:
        self._thread: Final = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)
        self._is_busy: Final = threading.Lock()

    def do(self, work: Work) -> None:
        """Do it, now or in a moment; an error is only logged, by its type."""
        if not self._is_busy.acquire(blocking=False):
            _try(work)
            return
        try:
            self._thread.submit(self._do_and_rest, work)
        except RuntimeError:  # The process stops, or has no room for a thread.
            self._is_busy.release()
            _try(work)

    def _do_and_rest(self, work: Work) -> None:
        try:
            _try(work)
        finally:
            self._is_busy.release()


def _try(work: Work) -> None:
    try:
        work()
    except Exception as error:  # noqa: BLE001 (nobody waits for it)
        # Only the type: the message may have personal data.
        logger.error("Something was not done aside: %s", type(error).__qualname__)
