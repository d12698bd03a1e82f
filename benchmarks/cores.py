"""Which cores the processes of a benchmark run on, and how much CPU time they take."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

_TICKS_PER_SECOND: Final = os.sysconf("SC_CLK_TCK")


def keep_apart(*server: int) -> None:
    """Pin this process and its later children to one core, and a server to the others.

    ``server`` are the ids of its processes. Does nothing on a machine with one core, or on a system
    that cannot pin processes.
    """
    cores = _cores()
    if len(cores) > 1:
        keep_to_one_core()
        for pid in server:
            _move(pid, cores[1:])


def keep_to_one_core() -> None:
    """Pin this process and its later children to one core."""
    if len(cores := _cores()) > 1:
        os.sched_setaffinity(0, cores[:1])


def cpu_seconds(pid: int) -> float:
    """CPU time of a process so far, with the processes that it has started and that still run.

    In seconds to two decimals. Some web servers only start others, which do the work.
    """
    process = Path(f"/proc/{pid}")
    # The second field is the program's name in brackets, which may hold anything.
    fields = (process / "stat").read_text(errors="replace").rpartition(")")[2].split()
    user, system = fields[11:13]
    children = " ".join(each.read_text() for each in process.glob("task/*/children")).split()
    return (int(user) + int(system)) / _TICKS_PER_SECOND + sum(map(cpu_seconds, map(int, children)))


def machine_cpu_seconds() -> float:
    """CPU time of all processes since the machine was started."""
    _, user, nice, system, _, _, irq, softirq, steal, *_ = (
        Path("/proc/stat").read_text().splitlines()[0].split()
    )
    return sum(map(int, (user, nice, system, irq, softirq, steal))) / _TICKS_PER_SECOND


def _cores() -> list[int]:
    """The cores that this process may use; empty on a system that cannot pin processes."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


def _move(pid: int, cores: list[int]) -> None:
    """Let all threads of a process run on these cores only."""
    for thread in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(thread.name), cores)
