"""Has a process that runs for long end in good order."""

from __future__ import annotations

import signal
import threading
from typing import Final

# Python handles signals between two steps of the main thread. One that arrives just as this thread
# begins to wait is handled when the wait is over: so it never waits for longer than this.
WAKE_SECONDS: Final = 0.5


def stop_on_signals(stop: threading.Event) -> None:
    """Set the event at Ctrl-C, and when the process is asked to end."""
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signal_number, lambda *_: stop.set())


def wait_for(stop: threading.Event) -> None:
    """Have the main thread wait until the event is set."""
    while not stop.wait(WAKE_SECONDS):
        pass
