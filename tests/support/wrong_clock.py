"""Runs `manage.py` as on a machine whose clock is wrong: `python -m … SECONDS COMMAND …`."""

from __future__ import annotations

import datetime
import sys
import time
from types import SimpleNamespace
from typing import Any, Self

from grpc import _channel


class _WrongDatetime(datetime.datetime):
    @classmethod
    def now(cls, tz: datetime.tzinfo | None = None) -> Self:
        return cls.fromtimestamp(time.time(), tz)


def _set_clock(ahead: float) -> None:
    """Before anything is imported that asks for the time. `time.monotonic` is left as it is."""
    right: Any = time.time
    # gRPC's core compares the deadlines that its Python part computes with the machine's time.
    vars(_channel)["time"] = SimpleNamespace(**vars(time))
    time.time = lambda: right() + ahead
    time.time_ns = lambda: int(time.time() * 1e9)
    datetime.datetime = _WrongDatetime  # type: ignore[misc]


if __name__ == "__main__":
    _set_clock(float(sys.argv[1]))
    from django.core.management import execute_from_command_line

    execute_from_command_line(["manage.py", *sys.argv[2:]])
