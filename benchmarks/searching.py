"""One measurement of `search.py`, in a process of its own.

Prints a JSON list of what each search took; with `--plans` the queries and plans on standard error.

python benchmarks/searching.py REQUESTS [--plans]
"""

from __future__ import annotations

import json
import sys
import time
from contextlib import redirect_stdout
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from statistics import median
from uuid import UUID

import django
from django.core.paginator import Paginator
from django.db import connection
from django.db.models import Q
from django.test.utils import CaptureQueriesContext

sys.path.insert(0, str(Path(__file__).parents[1]))
django.setup()

from loans.simulation.made_up_applications import made_up_applications
from readmodels.models import LoanRequest, SearchWord
from readmodels.pages.search import FirstOnly, look_for
from readmodels.projections.search_words import words_of

RUNS = 10
PAGE = 50
AT_ONCE = 10_000
BEGAN = datetime(2020, 1, 1, tzinfo=UTC)
# One in 26 of the made-up people is called Zoë, and one in 25 García.
SEARCHES = ("zoe", "José", "garcía zoë", "O'Brien", "g", "e n", "zzz", "{national_id}", "{id}")


def main() -> None:
    """Fill the database, search, and print what that took."""
    requests, *options = sys.argv[1:]
    wanted = _fill(int(requests))
    texts = [search.format(**wanted) for search in SEARCHES]
    print(json.dumps([_measured(text) for text in texts]))
    if "--plans" in options:
        with redirect_stdout(sys.stderr):
            for text in texts:
                _print_plans(text)


def _fill(count: int) -> dict[str, str | UUID]:
    """Fill the tables; returns the id and the national ID of one of the requests."""
    made_up = islice(made_up_applications(seed=1), count)
    done = 0
    while some := list(islice(made_up, AT_ONCE)):
        requests = []
        for number, each in enumerate(some, done + 1):
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
        done += len(some)
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


def _measured(text: str) -> dict[str, str | float]:
    _search(text)
    times, cpu = [], time.process_time()
    for _ in range(RUNS):
        began = time.perf_counter()
        listed = _search(text)
        times.append((time.perf_counter() - began) * 1000)
    cpu = (time.process_time() - cpu) * 1000 / RUNS
    return {
        "search": text,
        "listed": listed,
        "median_ms": median(times),
        "longest_ms": max(times),
        "cpu_ms": cpu,
    }


def _search(text: str) -> int:
    """Do what the list does; returns how many hits it lists."""
    found = look_for(text, LoanRequest.objects.all(), also=Q(decided_by=text))
    rows = found.rows.order_by("-requested_at", "-pk")
    paginator = FirstOnly(found, rows, PAGE) if found.are_many else Paginator(rows, PAGE)
    list(paginator.page(1).object_list)
    return paginator.count


def _print_plans(text: str) -> None:
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
