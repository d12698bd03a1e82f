"""How long the back office's search takes, on SQLite and on PostgreSQL, with the queries' plans.

    uv run --group test python benchmarks/search.py --requests 300000 --plans

Fills the tables with made-up requests, and looks for some people as the list in admin does: it asks
who is meant, counts them, and reads the first page. For each search it prints how many are listed,
and the milliseconds of all of its queries together, the median and the longest of some runs.
`--plans` prints each query, and how the database went about it.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from statistics import median
from uuid import UUID

import django
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.support.postgresql import running_postgresql

RUNS = 10
PAGE = 50
AT_ONCE = 10_000
BEGAN = datetime(2020, 1, 1, tzinfo=UTC)
# One in 27 of the made-up people is called Zoë, and one in 25 García.
SEARCHES = ("zoe", "José", "garcía zoë", "O'Brien", "g", "e n", "zzz", "{national_id}", "{id}")


def main() -> None:
    """Measure in a process for each database, and print a table for each."""
    arguments = _arguments()
    with tempfile.TemporaryDirectory() as folder, running_postgresql() as postgresql:
        for url in (f"sqlite:///{folder}/search.sqlite3", postgresql.new_database()):
            if (child := os.fork()) == 0:
                _measure(url, arguments)
                os._exit(0)
            _, status = os.waitpid(child, 0)
            if status:
                sys.exit(1)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=300_000)
    parser.add_argument("--plans", action="store_true", help="the queries and their plans too")
    return parser.parse_args()


def _measure(url: str, arguments: argparse.Namespace) -> None:
    with _database(url):
        wanted = _fill(arguments.requests)
        table = Table("search", "hits listed", "median ms", "longest ms", title=url.split(":")[0])
        for search in SEARCHES:
            text = search.format(**wanted)
            listed, times = _times(text)
            table.add_row(text, str(listed), f"{median(times):.1f}", f"{max(times):.1f}")
            if arguments.plans:
                _print_plans(text)
        Console().print(table)


@contextmanager
def _database(url: str) -> Iterator[None]:
    os.environ |= {
        "DJANGO_SETTINGS_MODULE": "lepret.settings",
        "DJANGO_SECRET_KEY": "only-for-a-benchmark-" + "x" * 50,
        "DATABASE_URL": url,
    }
    os.environ.pop("READMODELS_DATABASE_URL", None)
    django.setup()
    from django.core.management import call_command
    from django.db import connections

    call_command("migrate", verbosity=0)
    yield
    connections.close_all()


def _fill(count: int) -> dict[str, str | UUID]:
    """Fill the tables; returns the id and the national ID of one of the requests."""
    from django.db import connection

    from loans.simulation.made_up_applications import made_up_applications
    from readmodels.models import LoanRequest, SearchWord
    from readmodels.projections.search_words import words_of

    made_up = islice(made_up_applications(seed=1), count)
    number = 0
    while some := list(islice(made_up, AT_ONCE)):
        requests = []
        for number, each in enumerate(some, number + 1):
            requests.append(
                LoanRequest(
                    id=each.id,
                    status="approved" if number % 3 else "denied",
                    name=each.name,
                    national_id=each.national_id,
                    amount=each.amount,
                    address=each.address,
                    requested_at=BEGAN + timedelta(minutes=10 * number),
                    decided_by="uma" if number % 2 else "",
                )
            )
        LoanRequest.objects.bulk_create(requests)
        SearchWord.objects.bulk_create(
            SearchWord(request_id=each.id, word=word)
            for each in some
            for word in words_of(each.name, each.national_id)
        )
    if connection.vendor == "postgresql":  # As its own processes do in the background.
        with connection.cursor() as cursor:
            cursor.execute("VACUUM ANALYZE")
    return {"id": each.id, "national_id": each.national_id}


def _times(text: str) -> tuple[int, list[float]]:
    _search(text)
    times = []
    for _ in range(RUNS):
        began = time.perf_counter()
        listed = _search(text)
        times.append((time.perf_counter() - began) * 1000)
    return listed, times


def _search(text: str) -> int:
    """Do what the list does; returns how many hits it lists."""
    from django.core.paginator import Paginator
    from django.db.models import Q

    from readmodels.models import LoanRequest
    from readmodels.pages.search import FirstOnly, look_for

    found = look_for(text, LoanRequest.objects.all(), also=Q(decided_by=text))
    rows = found.rows.order_by("-requested_at", "-pk")
    paginator = FirstOnly(rows, PAGE) if found.are_many else Paginator(rows, PAGE)
    list(paginator.page(1).object_list)
    return paginator.count


def _print_plans(text: str) -> None:
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    explain = (
        "EXPLAIN (ANALYZE, BUFFERS)" if connection.vendor == "postgresql" else "EXPLAIN QUERY PLAN"
    )
    with CaptureQueriesContext(connection) as queries:
        _search(text)
    print(f"\n=== {connection.vendor}: {text}")
    with connection.cursor() as cursor:
        for query in queries.captured_queries:
            sql = query["sql"]
            print(f"--- {query['time']} s: {sql[:600]}")
            cursor.execute(f"{explain} {sql}".replace("%", "%%"), [])
            for row in cursor.fetchall():
                print("   ", row[-1])


if __name__ == "__main__":
    main()
