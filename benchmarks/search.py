"""How long the back office's search takes, on SQLite and on PostgreSQL, with the queries' plans.

    uv run --group test python benchmarks/search.py --requests 300000 --plans --json

Fills the tables with made-up requests, and looks for some people as the list in admin does: it asks
who is meant, counts them, and reads the first page. For each search it prints how many are listed,
the milliseconds of all of its queries together, the median and the longest of some runs, and this
process's CPU time, which on SQLite is all that there is. `--plans` prints each query, and how the
database went about it.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.machine import ran_on
from benchmarks.scripts import environment_with, output_of
from tests.support.postgresql import running_postgresql


def main() -> None:
    """Measure each database in a process of its own."""
    arguments = _arguments()
    machine = ran_on(is_embedded=None)
    with tempfile.TemporaryDirectory() as folder, running_postgresql() as postgresql:
        urls = {
            "sqlite": f"sqlite:///{folder}/search.sqlite3",
            "postgresql": postgresql.new_database(),
        }
        figures = {name: _measured(url, arguments) for name, url in urls.items()}
    print(machine)
    Console().print(*(_table(name, searches) for name, searches in figures.items()))
    if arguments.json:
        print(json.dumps({"ran_on": machine, "requests": arguments.requests, **figures}))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=300_000)
    parser.add_argument("--plans", action="store_true", help="the queries and their plans too")
    parser.add_argument("--json", action="store_true", help="the figures as the last line")
    return parser.parse_args()


def _measured(url: str, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """What `searching.py` prints: how long each search took."""
    environment = environment_with(DATABASE_URL=url)
    plans = ["--plans"] if arguments.plans else []
    output_of(environment, "manage.py", "migrate", "--verbosity", "0")
    searching = output_of(environment, "benchmarks/searching.py", str(arguments.requests), *plans)
    searches: list[dict[str, Any]] = json.loads(searching)
    return searches


def _table(name: str, searches: list[dict[str, Any]]) -> Table:
    table = Table("search", "listed", "median ms", "longest ms", "CPU ms", title=name)
    for each in searches:
        times = (f"{each[key]:.1f}" for key in ("median_ms", "longest_ms", "cpu_ms"))
        table.add_row(each["search"], str(each["listed"]), *times)
    return table


if __name__ == "__main__":
    main()
