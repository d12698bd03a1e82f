"""How many requests a second the form and the API handle, and how long each takes.

    uv run --group test python benchmarks/requests.py --json

Starts a demo of its own (event store, Valkey, database, projector, workers) with two web servers
beside it, which are like the demo's: in one the credit bureau answers at once, in the other after
100 ms. For 1, 8 and 32 clients, each with one call at a time, it measures these cases in rounds:

- the form, as a browser without JavaScript sends it, compared with a view behind the same
  middleware that also checks the form's token, but only inserts a row into the same database;
- `POST /api/loan-requests`, compared with the same view without a token;
- that view once more: where it is compared, Django's handler serves it, and here the project's;
- with 32 clients, both with the slow credit bureau, compared with the fast one.

At the end, `--burst` applications are made over 200 connections at once: each has to be accepted,
and shown with its outcome.

After each measurement it waits until the other processes have finished the work that the calls
caused, but for what workers do a minute later, which counts in a later measurement. It prints the
CPU time of each process per call, since all share the server's cores.

`--server` compares another ASGI server. These are in no group:
`uv run --group test --with granian python benchmarks/requests.py --server granian`.

`--profile` also prints where the web server's time goes. It needs py-spy, which is in no group:
`uv run --group test --with py-spy python benchmarks/requests.py --profile`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import count
from pathlib import Path
from typing import Any, Final

from rich.console import Console

PROJECT: Final = Path(__file__).resolve().parent.parent
# Not this directory, where `import requests` would find this file.
sys.path[0] = str(PROJECT)

from benchmarks.cores import cpu_seconds, machine_cpu_seconds
from benchmarks.machine import ran_on
from benchmarks.requests_burst import Burst
from benchmarks.requests_figures import (
    WEB,
    Case,
    Measured,
    Seconds,
    conclusions,
    cost_table,
    figures,
    speed_table,
)
from benchmarks.requests_load import Call, Load
from benchmarks.requests_profile import Profile, profiled, py_spy
from benchmarks.web_servers import DAPHNE, SERVERS, named_event_store, running_web_server
from tests.support.demo import COMMANDS, Demo, running_demo
from tests.support.postgresql import running_postgresql
from tests.support.web_servers import Daphne

CLIENTS: Final = (1, 8, 32)
SLOW_SECONDS: Final = 0.1
APPLICATION: Final = "benchmarks.requests_asgi:application"
LATENCY: Final = "CREDIT_BUREAU_LATENCY_SECONDS"

BURST: Final = 1_000
BURST_CONNECTIONS: Final = 200

PEOPLE_IN_A_RUN: Final = 100_000
SECONDS_FOR_A_RUN: Final = 120.0
# Processes are idle if they use less of a core than this for that many seconds.
IDLE_SECONDS, IDLE_CORES = 0.25, 0.1
SECONDS_TO_BE_IDLE: Final = 10.0


def main() -> None:
    options = _options()
    machine = ran_on(is_embedded=not named_event_store())
    with (
        tempfile.TemporaryDirectory(prefix="lepret-requests-") as directory,
        _database(options.database) as database,
        running_demo(
            Path(directory) / "data", environment={LATENCY: "0", **database, **named_event_store()}
        ) as demo,
        running_web_server(demo, APPLICATION, options.server) as web,
        running_web_server(
            demo, APPLICATION, options.server, **{LATENCY: str(SLOW_SECONDS)}
        ) as slow_web,
    ):
        bench = Bench(demo, {0.0: web, SLOW_SECONDS: slow_web}, options.seconds)
        if options.profile:
            bench.profile = Profile()
        bench.run(options.clients, rounds=options.rounds)
        burst = bench.burst(options.burst)
    if failures := sum((measured.failures for measured in bench.results.values()), Counter[str]()):
        sys.exit(f"Some calls failed: {dict(failures)}")
    _report(bench, burst, machine, as_json=options.json)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clients", type=int, nargs="+", default=CLIENTS)
    parser.add_argument("--seconds", type=float, default=2.5, help="for each case in a round")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--burst", type=int, default=BURST, help="applications at once")
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--server", choices=SERVERS, default=DAPHNE)
    parser.add_argument("--profile", action="store_true", help="where the server's time goes")
    parser.add_argument("--json", action="store_true", help="the figures as the last line")
    options = parser.parse_args()
    if options.profile:
        py_spy()
    return options


@contextmanager
def _database(name: str) -> Iterator[dict[str, str]]:
    """The environment variables that give the demo this database."""
    if name == "sqlite":
        yield {}
        return
    with running_postgresql() as postgresql:
        yield {"DATABASE_URL": postgresql.new_database()}


def _report(bench: Bench, burst: Burst, machine: str, *, as_json: bool) -> None:
    console = Console()
    console.print(machine, highlight=False, soft_wrap=True)
    console.print(speed_table(bench.results), cost_table(bench.results))
    if bench.profile is not None:
        console.print(*bench.profile.tables())
    for conclusion in conclusions(bench.results, burst):
        console.print(conclusion, highlight=False, soft_wrap=True)
    if as_json:
        print(json.dumps({"ran_on": machine, **figures(bench.results, burst)}))


class Bench:
    """Runs the cases against web servers, one for each latency of the credit bureau."""

    def __init__(self, demo: Demo, webs: dict[float, Daphne], seconds: float) -> None:
        self.results: dict[Case, Measured] = {}
        self.profile: Profile | None = None
        self._webs = webs
        self._seconds = seconds
        # The demo's own web server is idle.
        self._others = _running(demo)
        del self._others[WEB]
        self._first_person = count(step=PEOPLE_IN_A_RUN)

    def run(self, clients: Sequence[int], *, rounds: int) -> None:
        """Run each case once in each round."""
        for number in clients:
            cases = list(_cases(number, with_slow=number == max(clients)))
            for _ in range(rounds):
                for case in cases:
                    self._run(case)

    def burst(self, applications: int) -> Burst:
        """Have so many made at once."""
        arguments = (str(applications), str(BURST_CONNECTIONS))
        return Burst(**self._measured("requests_burst", self._webs[0.0].base_url, *arguments))

    def _run(self, case: Case) -> None:
        web = self._webs[case.latency]
        pids = {WEB: web.pid, **self._others}
        before, machine_before = _cpu(pids), machine_cpu_seconds()
        with self._perhaps_profiled(case, web.pid):
            load = self._load(case, web.base_url)
        meanwhile, machine_meanwhile = _cpu(pids), machine_cpu_seconds()
        _wait_until_idle(pids)
        measured = self.results.setdefault(case, Measured())
        measured.add(
            load,
            cpu=_less(_cpu(pids), before),
            cpu_meanwhile=_less(meanwhile, before),
            machine_cpu=machine_meanwhile - machine_before,
        )

    def _perhaps_profiled(self, case: Case, pid: int) -> AbstractContextManager[None]:
        if self.profile is None or case.compared_with is None or case.latency:
            return nullcontext()
        return profiled(pid, self.profile)

    def _load(self, case: Case, url: str) -> Load:
        arguments = (case.call, str(case.clients), str(self._seconds))
        return Load(**self._measured("requests_load", url, *arguments))

    def _measured(self, module: str, url: str, *arguments: str) -> dict[str, Any]:
        """What a module of clients prints, which runs in a process of its own."""
        first_person = str(next(self._first_person))
        done = subprocess.run(
            [sys.executable, "-m", f"benchmarks.{module}", url, *arguments, first_person],
            cwd=PROJECT,
            stdout=subprocess.PIPE,
            timeout=SECONDS_FOR_A_RUN,
            check=True,
        )
        measured: dict[str, Any] = json.loads(done.stdout)
        return measured


def _cases(clients: int, *, with_slow: bool) -> Iterator[Case]:
    for call in (Call.CHECKED_INSERT, Call.FORM, Call.INSERT, Call.API, Call.OWN_INSERT):
        yield Case(call, clients)
    if with_slow:
        yield Case(Call.FORM, clients, SLOW_SECONDS)
        yield Case(Call.API, clients, SLOW_SECONDS)


def _running(demo: Demo) -> dict[str, int]:
    """The demo's processes, by name."""
    return {name: pid for name in COMMANDS if (pid := demo.pid_of(name)) is not None}


def _cpu(pids: dict[str, int]) -> Seconds:
    """The CPU time of each process so far."""
    return {name: cpu_seconds(pid) for name, pid in pids.items()}


def _less(later: Seconds, earlier: Seconds) -> Seconds:
    return {name: took - earlier[name] for name, took in later.items()}


def _wait_until_idle(pids: dict[str, int]) -> None:
    """Wait until the processes are idle, for at most `SECONDS_TO_BE_IDLE`."""
    deadline = time.monotonic() + SECONDS_TO_BE_IDLE
    before = sum(_cpu(pids).values())
    while time.monotonic() < deadline:
        time.sleep(IDLE_SECONDS)
        now = sum(_cpu(pids).values())
        if now - before < IDLE_CORES * IDLE_SECONDS:
            return
        before = now


if __name__ == "__main__":
    main()
