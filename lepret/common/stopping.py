"""Stops a long-running process in an orderly way at a signal."""

from __future__ import annotations

import signal
import threading
from typing import Final

# Python handles signals in the main thread. One that arrives just as that thread begins to wait is
# handled only when the wait is over, so no wait may be longer than this.
WAKE_SECONDS: Final = 0.5


def stop_on_signals(stop: threading.Event) -> None:
    """Set the event at SIGINT (Ctrl-C) and at SIGTERM."""
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signal_number, lambda *_: stop.set())


def wait_for(stop: threading.Event) -> None:
    """Wait until the event is set. For the main thread."""
    while not stop.wait(WAKE_SECONDS):
        pass
