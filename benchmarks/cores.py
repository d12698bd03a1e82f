"""Which cores the processes of a benchmark run on, so that figures can be compared."""

from __future__ import annotations

import os
from pathlib import Path


def keep_apart(server: int) -> None:
    """Give this process, and those it will start, one core, and a server the others.

    ``server`` is its process id. Nothing happens where there is one core, or where the system
    does not say which there are.
    """
    cores = _cores()
    if len(cores) > 1:
        keep_to_one_core()
        _move(server, cores[1:])


def keep_to_one_core() -> None:
    """Give this process, and those it will start, one core."""
    if len(cores := _cores()) > 1:
        os.sched_setaffinity(0, cores[:1])


def _cores() -> list[int]:
    """The cores that this process may use; none where the system does not say."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


def _move(pid: int, cores: list[int]) -> None:
    """Let all threads of a process run on these cores only."""
    for thread in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(thread.name), cores)
