"""What others notice of one client that tries its worst, and what it leaves behind.

    uv run --group test python benchmarks/hostile.py --json

Starts a demo of its own. Four people at 127.0.0.1 open the start page again and again, with short
pauses. Meanwhile a hostile client at 127.0.0.2 attacks in one way after another, over up to 500
connections at once (`hostile_client.py`); between the attacks it is quiet for a while. It prints
how long the page takes, and the web process's memory before and after each attack.

At the end 1,000 calls of each kind are made, and the memory is read again after a rest.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx2
from rich.console import Console
from rich.table import Table

PROJECT: Final = Path(__file__).resolve().parent.parent
sys.path[0] = str(PROJECT)

from benchmarks.cores import keep_apart
from benchmarks.hostile_client import ATTACKS
from benchmarks.machine import ran_on
from benchmarks.web_servers import named_event_store
from tests.support.demo import running_demo

PEOPLE: Final = 4
PAUSE_SECONDS: Final = (0.02, 0.08)
SECONDS_TO_BEGIN: Final = 1.0
SECONDS_TO_REST: Final = 5.0
SECONDS_FOR_THE_CALLS: Final = 120.0
CALLS: Final = 1_000

MOST_P99_RATIO: Final = 2.0
MOST_GROWTH_MB: Final = 30.0


@dataclass
class Measured:
    """What people noticed, in milliseconds, and the web process's memory before and after in MB."""

    latencies: list[float] = field(default_factory=list)
    failures: int = 0
    attacks: int = 0
    before: float = 0.0
    after: float = 0.0

    @property
    def median(self) -> float:
        return statistics.median(self.latencies)

    @property
    def p99(self) -> float:
        return statistics.quantiles(self.latencies, n=100)[98]


def main() -> None:
    options = _options()
    machine = ran_on(is_embedded=not named_event_store())
    with (
        tempfile.TemporaryDirectory(prefix="lepret-hostile-") as directory,
        running_demo(Path(directory) / "data", environment=named_event_store()) as demo,
    ):
        pid = demo.pid_of("web")
        assert pid is not None
        keep_apart(pid)
        bench = _Bench(demo.base_url, pid, options.seconds)
        for attack in options.attacks:
            bench.run(attack)
        growth = bench.growth_after_calls(options.attacks) if options.calls else None
    figures = bench.figures(growth)
    print(machine)
    Console().print(_table(figures))
    for goal in figures["missed"]:
        print(f"MISSED: {goal}")
    if options.json:
        print(json.dumps({"ran_on": machine, **figures}))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--attacks", nargs="+", choices=ATTACKS, default=list(ATTACKS))
    parser.add_argument("--seconds", type=float, default=8.0, help="for each attack")
    parser.add_argument("--no-calls", dest="calls", action="store_false")
    parser.add_argument("--json", action="store_true", help="the figures as the last line")
    return parser.parse_args()


class _Bench:
    def __init__(self, url: str, pid: int, seconds: float) -> None:
        self._url = url
        self._pid = pid
        self._seconds = seconds
        self._quiet = Measured()
        self._attacked: dict[str, Measured] = {}
        self._people(Measured(), seconds)  # Not measured: caches are empty.

    def run(self, attack: str) -> None:
        """Have it quiet, and then this attack."""
        self._people(self._quiet, self._seconds)
        measured = self._attacked.setdefault(attack, Measured())
        measured.before = _megabytes(self._pid)
        hostile = self._hostile(attack, self._seconds + 2 * SECONDS_TO_BEGIN)
        time.sleep(SECONDS_TO_BEGIN)
        self._people(measured, self._seconds)
        output, _ = hostile.communicate(timeout=SECONDS_FOR_THE_CALLS)
        measured.attacks = json.loads(output)
        self._people(Measured(), SECONDS_TO_REST)
        measured.after = _megabytes(self._pid)

    def growth_after_calls(self, attacks: Sequence[str]) -> dict[str, float]:
        """By how many MB the memory has grown after 1,000 calls of each kind."""
        return dict(self._growths(attacks))

    def _growths(self, attacks: Sequence[str]) -> Iterator[tuple[str, float]]:
        for attack in attacks:
            before = _megabytes(self._pid)
            self._hostile(attack, SECONDS_FOR_THE_CALLS / 4, CALLS).communicate(
                timeout=SECONDS_FOR_THE_CALLS
            )
            self._people(Measured(), SECONDS_TO_REST)
            yield attack, _megabytes(self._pid) - before

    def _hostile(self, attack: str, seconds: float, *calls: int) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "benchmarks.hostile_client", self._url, attack]
        return subprocess.Popen(
            [*command, str(seconds), *map(str, calls)],
            cwd=PROJECT,
            stdout=subprocess.PIPE,
            text=True,
        )

    def _people(self, measured: Measured, seconds: float) -> None:
        asyncio.run(_people(self._url, measured, seconds))

    def figures(self, growth: dict[str, float] | None) -> dict[str, Any]:
        quiet = self._quiet
        figures: dict[str, Any] = {
            "quiet": _figures(quiet),
            "attacks": {name: _figures(each) for name, each in self._attacked.items()},
            "growth_mb": growth,
        }
        for each in figures["attacks"].values():
            each["p99_ratio"] = round(each["p99_ms"] / figures["quiet"]["p99_ms"], 2)
        return figures | {"missed": list(_missed(figures))}


async def _people(url: str, measured: Measured, seconds: float) -> None:
    until = time.monotonic() + seconds
    async with httpx2.AsyncClient(base_url=url, timeout=30, trust_env=False) as client:

        async def person() -> None:
            while time.monotonic() < until:
                began = time.perf_counter()
                try:
                    answer = await client.get("/")
                except httpx2.TransportError:
                    measured.failures += 1
                    continue
                measured.latencies.append(1000 * (time.perf_counter() - began))
                measured.failures += not answer.is_success
                await asyncio.sleep(random.uniform(*PAUSE_SECONDS))  # noqa: S311

        await asyncio.gather(*(person() for _ in range(PEOPLE)))


def _megabytes(pid: int) -> float:
    """The memory of a process that is in RAM."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def _figures(measured: Measured) -> dict[str, float]:
    return {
        "pages": len(measured.latencies),
        "failures": measured.failures,
        "median_ms": round(measured.median, 1),
        "p99_ms": round(measured.p99, 1),
        "attacks": measured.attacks,
        "before_mb": round(measured.before),
        "after_mb": round(measured.after),
    }


def _missed(figures: dict[str, Any]) -> Iterator[str]:
    for name, each in figures["attacks"].items():
        if each["p99_ratio"] > MOST_P99_RATIO:
            yield f"{name}: others' p99 is {each['p99_ratio']} times the quiet one"
        if each["failures"]:
            yield f"{name}: {each['failures']} requests of others failed"
    for name, growth in (figures["growth_mb"] or {}).items():
        if growth > MOST_GROWTH_MB:
            yield f"{name}: {growth:.0f} MB more after {CALLS} calls"


def _table(figures: dict[str, Any]) -> Table:
    table = Table("", title="What others notice, in milliseconds, and the server's memory in MB")
    table.columns[0].no_wrap = True
    for heading in ("attacks", "pages", "failed", "median", "p99", "ratio", "before"):
        table.add_column(heading, justify="right")
    for heading in ("after", "growth"):
        table.add_column(heading, justify="right")
    growth = figures["growth_mb"] or {}
    for name, each in {"quiet": figures["quiet"], **figures["attacks"]}.items():
        keys = ("attacks", "pages", "failures", "median_ms", "p99_ms", "p99_ratio")
        values = [f"{each.get(key, ''):}" for key in keys]
        values += [f"{each['before_mb']:.0f}", f"{each['after_mb']:.0f}"]
        table.add_row(name, *values, f"{growth[name]:.0f}" if name in growth else "")
    return table


if __name__ == "__main__":
    main()
