"""`manage.py apply`: send made-up loan applications to a running system."""

from __future__ import annotations

import asyncio
import math
from argparse import ArgumentParser, ArgumentTypeError
from itertools import islice
from typing import Any, TextIO, cast
from urllib.parse import urlsplit

from django.core.management.base import BaseCommand, CommandError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from lepret.common.option_types import number_in, whole_number
from loans.domain.loan_request import Status
from loans.simulation.made_up_applications import made_up_applications
from loans.simulation.sending import NobodyThere, Results, check_somebody_is_there, send


class Command(BaseCommand):
    help = (
        "Send made-up loan applications to the JSON API of a running system, and count the "
        "outcomes. --seed makes the same applications each time, ids included: sent twice, each "
        "is still one loan."
    )
    requires_system_checks = ()  # the checks are about the server; this is a client

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--url", type=_url, default="http://127.0.0.1:8000", help="default: %(default)s"
        )
        parser.add_argument(
            "--count", type=whole_number, default=10, help="how many (default: %(default)s)"
        )
        parser.add_argument("--rate", type=_rate, help="how many per second (default: no limit)")
        parser.add_argument("--seed", type=int, help="makes the same applications each time")

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.ending = ""  # rich ends its lines itself
        console = Console(file=cast(TextIO, self.stdout), highlight=False)
        results = Results()
        try:
            asyncio.run(check_somebody_is_there(options["url"]))
            self._send(console, results, **options)
        except NobodyThere as problem:
            raise CommandError(str(problem)) from problem
        except KeyboardInterrupt:
            console.print("stopped early")
        console.print(_summary(results))
        console.print(_speed(results))
        if results.failed:
            raise CommandError(f"{results.failed} failed: {_reasons(results)}")

    def _send(
        self,
        console: Console,
        results: Results,
        *,
        url: str,
        count: int,
        rate: float | None,
        seed: int | None,
        **_: Any,
    ) -> None:
        with _progress(console) as progress:
            task = progress.add_task("Applying", total=count)
            asyncio.run(
                send(
                    list(islice(made_up_applications(seed), count)),
                    url=url,
                    rate=rate,
                    results=results,
                    on_each=lambda: progress.advance(task),
                )
            )


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
    )


def _summary(results: Results) -> Table:
    table = Table("Outcome", "Applications")
    table.columns[1].justify = "right"
    for status in (Status.APPROVED, Status.DENIED, Status.UNDER_REVIEW, Status.RECEIVED):
        table.add_row(status.replace("_", " "), f"{results.outcomes[status]:,}")
    table.add_row("failed", f"{results.failed:,}", style="bold red" if results.failed else "dim")
    return table


def _speed(results: Results) -> str:
    rate = results.total / results.seconds if results.seconds else 0
    return f"{results.total:,} applications in {results.seconds:.1f} s: {rate:.1f} per second"


def _reasons(results: Results) -> str:
    return ", ".join(f"{reason} ({times})" for reason, times in results.failures.most_common())


def _rate(text: str) -> float:
    rate = number_in(text)
    if not (math.isfinite(rate) and rate > 0):
        raise ArgumentTypeError(f"{text!r} is not a number above 0")
    return rate


def _url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ArgumentTypeError(f"{text!r} is not an address such as http://127.0.0.1:8000")
    return text
