"""Measures the time from recording an event to sending the frame that shows it."""

from __future__ import annotations

import functools
import time
from typing import Final

from prometheus_client import Histogram

_SECONDS: Final = Histogram(
    "lepret_event_to_frame_seconds",
    "From recording the oldest event in a frame to sending the frame to an open page.",
    ["page"],
    buckets=(0.002, 0.005, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)

# Looked up once for each kind of page, since frames are many.
_seconds_of = functools.cache(_SECONDS.labels)


def observe(page: str, recorded_at: float | None) -> None:
    """Count a frame that was just sent; `recorded_at` is Unix time, or `None` if not known."""
    if recorded_at is None:
        return
    # The event store's clock may be ahead of this machine's.
    _seconds_of(page).observe(max(0.0, time.time() - recorded_at))
