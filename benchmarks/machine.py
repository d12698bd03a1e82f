"""What a benchmark ran on: figures of two machines, or of a busy one, say nothing side by side."""

from __future__ import annotations

import os
import platform
import time
from typing import Final

from tests.support.event_store import IS_EMBEDDED

_ADDITIONS: Final = 2_000_000
_TRIES: Final = 5


def ran_on(*, is_embedded: bool | None = IS_EMBEDDED) -> str:
    """The machine, its load and its speed now, and which event store there is, in words.

    To be asked before the benchmark begins, whose own load would count otherwise. `is_embedded`:
    the event store is; `None` if there is none.
    """
    load = os.getloadavg()[0]
    event_stores = {True: ", the embedded event store", False: ", another event store", None: ""}
    return (
        f"{platform.machine()}, {os.cpu_count()} cores, load {load:.1f}, "
        f"Python {platform.python_version()} ({_millions_of_additions():.0f} million additions a "
        f"second){event_stores[is_embedded]}"
    )


def _millions_of_additions() -> float:
    """How many a second, at best: this tells how fast Python is here."""
    return _ADDITIONS / min(_seconds() for _ in range(_TRIES)) / 1e6


def _seconds() -> float:
    began, number = time.perf_counter(), 0
    while number < _ADDITIONS:
        number += 1
    return time.perf_counter() - began
