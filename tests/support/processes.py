"""Helpers for tests that run real processes: ports, conditions to wait for, process trees."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import pytest

from lepret.demo.ports import free_port, is_free

__all__ = [
    "PATIENCE",
    "PROJECT",
    "Process",
    "descendants",
    "free_port",
    "frozen",
    "is_alive",
    "is_free",
    "processes_of_group",
    "resident_bytes",
    "wait_until",
]

T = TypeVar("T")

PROJECT: Final = Path(__file__).resolve().parents[2]

PATIENCE: Final = 90.0
"""Seconds in which what a test waits for has come on any machine.

Only a test that fails waits so long.
"""


def wait_until(
    condition: Callable[[], T],
    timeout: float = PATIENCE,
    *,
    what: str = "",
    every: float = 0.05,
) -> T:
    """Call `condition` until what it returns is true, and return that.

    Args:
        timeout: in seconds; another one only where the wait may run out, or is what is tested.
        what: what is waited for, for the error message.
        every: seconds between two calls.

    Raises:
        AssertionError: it was not true in time.
    """
    deadline = time.monotonic() + timeout
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() >= deadline:
            name = what or getattr(condition, "__name__", repr(condition))
            raise AssertionError(f"not so within {timeout:g} seconds: {name}")
        time.sleep(every)


@dataclass(frozen=True)
class Process:
    """A process, as the kernel describes it."""

    pid: int
    parent: int
    group: int
    command_line: str


def is_alive(pid: int) -> bool:
    """Whether a process runs. A zombie does not."""
    stat = _stat(pid)
    return stat is not None and stat[0] not in ("Z", "X")


def resident_bytes(pid: int) -> int:
    """How much memory a process has; skips the test where nobody tells."""
    status = Path(f"/proc/{pid}/status")
    if not status.exists():
        pytest.skip("there is no /proc to ask for a process's memory")
    lines = status.read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))


def descendants(pid: int) -> list[Process]:
    """The processes that `pid` started, those that these started, and so on."""
    everyone = _running_processes()
    found: list[Process] = []
    parents = {pid}
    while parents:
        children = [process for process in everyone if process.parent in parents]
        found += children
        parents = {child.pid for child in children}
    return found


def processes_of_group(group: int) -> list[int]:
    """The ids of the running processes in a process group."""
    return [process.pid for process in _running_processes() if process.group == group]


def _running_processes() -> list[Process]:
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return [process for pid in pids if (process := _process(pid)) is not None]


def _process(pid: int) -> Process | None:
    stat = _stat(pid)
    if stat is None or stat[0] in ("Z", "X"):
        return None
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return None
    _, parent, group = stat
    command_line = b" ".join(words).decode(errors="replace")
    return Process(pid, parent, group, command_line)


def _stat(pid: int) -> tuple[str, int, int] | None:
    """The state, the parent and the group of a process, or `None` if there is no such process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    # The second field is the program's name in brackets, which may hold anything.
    state, parent, group, *_ = text.rpartition(")")[2].split()
    return state, int(parent), int(group)


@contextmanager
def frozen(*pids: int) -> Iterator[None]:
    """Processes are suspended while the block runs."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
