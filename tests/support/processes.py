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

from lepret.demo.ports import free_port, is_free

__all__ = [
    "PROJECT",
    "Process",
    "descendants",
    "free_port",
    "frozen",
    "is_alive",
    "is_free",
    "wait_until",
]

T = TypeVar("T")

PROJECT: Final = Path(__file__).resolve().parents[2]


def wait_until(
    condition: Callable[[], T],
    timeout: float,
    *,
    what: str = "",
    every: float = 0.05,
) -> T:
    """Call `condition` until what it returns is true, and return that.

    Args:
        timeout: in seconds.
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
    command_line: str


def is_alive(pid: int) -> bool:
    """Whether a process runs. A zombie does not."""
    stat = _stat(pid)
    return stat is not None and stat[0] not in ("Z", "X")


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
    return Process(pid, parent=stat[1], command_line=b" ".join(words).decode(errors="replace"))


def _stat(pid: int) -> tuple[str, int] | None:
    """The state and the parent of a process, or `None` if there is no such process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    # The second field is the program's name in brackets, which may hold anything.
    state, parent, *_ = text.rpartition(")")[2].split()
    return state, int(parent)


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    """A process is suspended while the block runs."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)
