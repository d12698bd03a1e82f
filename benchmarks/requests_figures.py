"""The results of `requests.py`: figures, tables, and which goals are met."""

from __future__ import annotations

import os
import statistics
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from rich.table import Table

from benchmarks.requests_burst import Burst
from benchmarks.requests_load import Call, Load

LEAST_RATE_RATIO: Final = 0.6
MOST_P99_RATIO: Final = 2.0
# With one client, who waits for the event store's disk twice.
LEAST_RATE_RATIO_ALONE: Final = 0.4
MOST_P50_MS_ALONE: Final = 12.0
# Of a core, for a call of the API with the most clients, by all processes but the clients'.
MOST_CPU_MS: Final = 10.0
# With a slow credit bureau: of the rate with a fast one, or of the rate that the latency allows.
LEAST_RATE_RATIO_IF_SLOW: Final = 0.8

# A core that is busy for this share of the time is the bottleneck.
FULLY_BUSY: Final = 0.9
# If other programs use this much of a core, they spoil the results.
NOT_ALONE: Final = 0.1

WEB: Final = "web"
LOAD: Final = "load"

_INSERTS: Final = {Call.FORM: Call.CHECKED_INSERT, Call.API: Call.INSERT}
_NAMES: Final = {
    Call.FORM: "form",
    Call.API: "API",
    Call.INSERT: "insert",
    Call.CHECKED_INSERT: "insert, with a token",
    Call.OWN_INSERT: "insert, our handler",
}


@dataclass(frozen=True)
class Case:
    """One kind of measurement; `latency` is the credit bureau's, in seconds."""

    call: Call
    clients: int
    latency: float = 0.0

    def __str__(self) -> str:
        slow = ", slow" if self.latency else ""
        return f"{_NAMES[self.call]}{slow}"

    @property
    def compared_with(self) -> Case | None:
        """The insert of a row; with a slow credit bureau, the same call with a fast one."""
        if self.latency:
            return Case(self.call, self.clients)
        insert = _INSERTS.get(self.call)
        return None if insert is None else Case(insert, self.clients)


# By process.
Seconds = dict[str, float]


@dataclass
class Measured:
    """The results of a case, over all rounds.

    `cpu` is the CPU time of each process in seconds, until all were idle again. `cpu_meanwhile` and
    `machine_cpu`, that of all the machine's processes, are only of the `elapsed` seconds from the
    first call to the last answer.
    """

    seconds: float = 0.0
    elapsed: float = 0.0
    calls: int = 0
    latencies_ms: list[float] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)
    cpu: Seconds = field(default_factory=dict)
    cpu_meanwhile: Seconds = field(default_factory=dict)
    machine_cpu: float = 0.0

    def add(self, load: Load, *, cpu: Seconds, cpu_meanwhile: Seconds, machine_cpu: float) -> None:
        """Add the results of one round."""
        self.machine_cpu += machine_cpu
        self.seconds += load.seconds
        self.elapsed += load.elapsed
        self.calls += load.calls
        self.latencies_ms += load.latencies_ms
        self.failures.update(load.failures)
        for name, took in {**cpu, LOAD: load.cpu_seconds}.items():
            self.cpu[name] = self.cpu.get(name, 0.0) + took
        for name, took in {**cpu_meanwhile, LOAD: load.cpu_seconds}.items():
            self.cpu_meanwhile[name] = self.cpu_meanwhile.get(name, 0.0) + took

    @property
    def per_second(self) -> float:
        return len(self.latencies_ms) / self.seconds

    def percentile(self, percent: int) -> float:
        """A percentile of the latencies, in milliseconds."""
        return statistics.quantiles(self.latencies_ms, n=100)[percent - 1]


Results = Mapping[Case, Measured]


def figures(results: Results, burst: Burst) -> dict[str, Any]:
    """All results as plain numbers, and the missed goals in words."""
    return {
        "cases": [_figures(case, results) for case in results],
        "burst": vars(burst),
        "missed": [goal.in_words for goal in _goals(results, burst) if not goal.is_met],
    }


def _figures(case: Case, results: Results) -> dict[str, Any]:
    result = results[case]
    return {
        "call": case.call.value,
        "clients": case.clients,
        "credit_bureau_ms": 1000 * case.latency,
        "per_second": round(result.per_second, 1),
        "p50_ms": round(result.percentile(50), 1),
        "p99_ms": round(result.percentile(99), 1),
        **{name: round(value, 2) for name, value in _ratios(case, results).items()},
        "cpu_ms": {name: round(took, 2) for name, took in _cpu_ms(result).items()},
    }


def _ratios(case: Case, results: Results) -> dict[str, float]:
    other = results.get(case.compared_with) if case.compared_with else None
    if other is None:
        return {}
    result = results[case]
    return {
        "rate_ratio": result.per_second / other.per_second,
        "p99_ratio": result.percentile(99) / other.percentile(99),
    }


def speed_table(results: Results) -> Table:
    """How many calls a second, and how long each took."""
    table = Table("", title="Requests, compared with an insert; slow ones with fast ones")
    table.columns[0].no_wrap = True
    for heading in ("clients", "per second", "p50 ms", "p99 ms", "rate ratio", "p99 ratio"):
        table.add_column(heading, justify="right")
    for case in results:
        row = _figures(case, results)
        ratios = (f"{row[name]:.2f}" if name in row else "" for name in ("rate_ratio", "p99_ratio"))
        table.add_row(
            str(case),
            str(case.clients),
            *(f"{row[name]:.1f}" for name in ("per_second", "p50_ms", "p99_ms")),
            *ratios,
        )
    return table


def cost_table(results: Results) -> Table:
    """The CPU time of each process for a call, with the largest number of clients."""
    clients = _most_clients(results)
    most = {case: result for case, result in results.items() if case.clients == clients}
    table = Table("", title=f"CPU time per call in milliseconds, {clients} clients")
    for case in most:
        table.add_column(str(case), justify="right")
    for name in next(iter(most.values())).cpu:
        table.add_row(name, *(f"{_cpu_ms(result)[name]:.1f}" for result in most.values()))
    table.add_row("all", *(f"{sum(_cpu_ms(result).values()):.1f}" for result in most.values()))
    return table


def _cpu_ms(result: Measured) -> dict[str, float]:
    """CPU time per call in milliseconds, by process."""
    return {name: 1000 * took / result.calls for name, took in result.cpu.items()}


def _most_clients(results: Results) -> int:
    return max(case.clients for case in results)


# Goals --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Goal:
    is_met: bool
    in_words: str

    def __str__(self) -> str:
        return f"{'met' if self.is_met else 'MISSED'}: {self.in_words}"


def conclusions(results: Results, burst: Burst) -> Iterator[str]:
    """Whether each goal is met, and the bottleneck of each case with the most clients."""
    yield from map(str, _goals(results, burst))
    for case, result in results.items():
        if case.clients == _most_clients(results):
            yield f"{_in_words(case)}: {_limit(result)}"


def _goals(results: Results, burst: Burst) -> Iterator[_Goal]:
    for case in results:
        if case.latency:
            yield _goal_if_slow(case, results)
        elif case.compared_with in results:
            yield from _goals_beside_insert(case, results)
    yield _Goal(
        burst.shown == burst.applications,
        f"burst: of {burst.applications:,} applications {burst.accepted:,} accepted within "
        f"{burst.seconds:.1f} s, {burst.shown:,} shown after {burst.seconds_until_shown:.1f} s "
        f"(failures: {dict(burst.failures) or 'none'}), all are wanted",
    )


def _goals_beside_insert(case: Case, results: Results) -> Iterator[_Goal]:
    ratios = _ratios(case, results)
    rate, p99 = ratios["rate_ratio"], ratios["p99_ratio"]
    what = _in_words(case)
    least = LEAST_RATE_RATIO if case.clients > 1 else LEAST_RATE_RATIO_ALONE
    yield _Goal(
        rate >= least, f"{what}: {rate:.2f} of the insert's rate, at least {least:g} is wanted"
    )
    yield _Goal(
        p99 <= MOST_P99_RATIO,
        f"{what}: {p99:.1f} times the insert's p99, at most {MOST_P99_RATIO:g} is wanted",
    )
    if case.clients == 1:
        p50 = results[case].percentile(50)
        yield _Goal(
            p50 <= MOST_P50_MS_ALONE,
            f"{what}: p50 of {p50:.1f} ms, at most {MOST_P50_MS_ALONE:g} is wanted",
        )
    if case.call is Call.API and case.clients == _most_clients(results):
        cpu = sum(took for name, took in _cpu_ms(results[case]).items() if name != LOAD)
        yield _Goal(
            cpu <= MOST_CPU_MS,
            f"{what}: {cpu:.1f} ms of a core, at most {MOST_CPU_MS:g} is wanted",
        )


def _goal_if_slow(case: Case, results: Results) -> _Goal:
    assert case.compared_with is not None, "a slow case is compared with a fast one"
    possible = min(results[case.compared_with].per_second, case.clients / case.latency)
    ratio = results[case].per_second / possible
    return _Goal(
        ratio >= LEAST_RATE_RATIO_IF_SLOW,
        f"{_in_words(case)}: {ratio:.2f} of the {possible:.0f} a second that are "
        f"possible, at least {LEAST_RATE_RATIO_IF_SLOW:g} is wanted",
    )


def _in_words(case: Case) -> str:
    return f"{case}, {case.clients} client{'s' if case.clients > 1 else ''}"


def _limit(result: Measured) -> str:
    cores = os.cpu_count() or 1
    web = result.cpu_meanwhile[WEB] / result.elapsed
    ours = sum(result.cpu_meanwhile.values()) / result.elapsed
    # Both are rounded, and were not read at exactly the same time.
    others = max(0.0, result.machine_cpu / result.elapsed - ours)
    busy = f"{web:.2f} cores busy with the web server, {ours - web:.2f} with clients and demo"
    if others >= NOT_ALONE:
        busy += f", {others:.2f} with other programs"
    if ours + others >= FULLY_BUSY * cores:
        return f"{busy}: the machine's {cores} cores limit it"
    if web >= FULLY_BUSY:
        return f"{busy}: the web server limits it, since a Python process uses one core"
    return f"{busy}: no core limits it"
