"""How long the back office's search takes, on SQLite and on PostgreSQL, with the queries' plans.

    uv run --group test python benchmarks/search.py --requests 300000 --plans

Fills the tables with made-up requests, and looks for some people as the list in admin does: it asks
who is meant, counts them, and reads the first page. For each search it prints how many are listed,
the milliseconds of all of its queries together, the median and the longest of some runs, and this
process's CPU time, which on SQLite is all that there is. `--plans` prints each query, and how the
database went about it.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT))

from tests.support.postgresql import running_postgresql


def main() -> None:
    """Measure each database in a process of its own."""
    arguments = _arguments()
    with tempfile.TemporaryDirectory() as folder, running_postgresql() as postgresql:
        for url in (f"sqlite:///{folder}/search.sqlite3", postgresql.new_database()):
            _measure(url, arguments)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=300_000)
    parser.add_argument("--plans", action="store_true", help="the queries and their plans too")
    return parser.parse_args()


def _measure(url: str, arguments: argparse.Namespace) -> None:
    environment = os.environ | {
        "DJANGO_SETTINGS_MODULE": "lepret.settings",
        "DJANGO_SECRET_KEY": "only-for-a-benchmark-" + "x" * 50,
        "DATABASE_URL": url,
    }
    environment.pop("READMODELS_DATABASE_URL", None)
    plans = ["--plans"] if arguments.plans else []
    for script in (
        ["manage.py", "migrate", "--verbosity", "0"],
        ["benchmarks/searching.py", str(arguments.requests), *plans],
    ):
        subprocess.run([sys.executable, *script], cwd=PROJECT, env=environment, check=True)


if __name__ == "__main__":
    main()
