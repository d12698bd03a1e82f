"""`manage.py simulate_policy`: what another lending policy would have done."""

from __future__ import annotations

import signal
import sys
from argparse import SUPPRESS, ArgumentParser, ArgumentTypeError
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any, Final, TextIO, cast
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError
from django.template.defaultfilters import pluralize
from django.utils import timezone
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from lepret.common.event_store_client import close_event_store_client, event_store_client
from lepret.common.formats import money
from lepret.common.memory import prepare_memory
from loans.adapters import loan_log
from loans.adapters.event_store import EventStoreUnavailable
from loans.application.policy_files import LARGEST_FILE, NoPolicy, policy_in
from loans.application.policy_simulations import Report, report_on, stored_policy
from loans.application.simulation_runs import RunsUnavailable
from loans.dependencies import policies
from loans.domain.lending_policy import UnknownVersion
from loans.domain.policy import Policy
from loans.domain.policy_simulation import Example, Period, Simulated, Work, is_changed
from loans.workers.simulating import NoSuchRun, carry_out

# What a shell says of a program that Ctrl-C has ended.
_INTERRUPTED: Final = 128 + signal.SIGINT


class Command(BaseCommand):
    help = (
        "Say what a lending policy would have made of all recorded requests: how many it would "
        "have approved and denied at once, and how many left to people. Nothing is changed."
    )
    requires_system_checks = ()  # the checks are about the server

    def add_arguments(self, parser: ArgumentParser) -> None:
        which = parser.add_mutually_exclusive_group(required=True)
        which.add_argument(
            "file", nargs="?", metavar="FILE", help="the policy as JSON; -: standard input"
        )
        which.add_argument(
            "--policy-version",
            type=_version,
            metavar="NUMBER",
            help="a stored version instead, proposed or not; 0: the built-in one",
        )
        # What the page in admin starts.
        which.add_argument("--run", type=UUID, help=SUPPRESS)
        parser.add_argument(
            "--from",
            dest="first",
            type=_day,
            metavar="DATE",
            help="only requests made on this day or later, such as 2026-11-29",
        )
        parser.add_argument(
            "--to", dest="last", type=_day, metavar="DATE", help="only those made until then"
        )
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        # What waits for the event store is interrupted, too. A shell has what it starts in the
        # background ignore SIGINT.
        for signal_number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signal_number, signal.default_int_handler)
        prepare_memory()
        try:
            if options["run"]:
                carry_out(options["run"], connect=event_store_client)
            else:
                self._simulate(options)
        except EventStoreUnavailable as loss:
            cause = type(loss.__cause__ or loss).__qualname__
            raise CommandError(f"The event store is away ({cause}).") from None
        except NoSuchRun:
            raise CommandError("There is no such simulation, or no longer.") from None
        except RunsUnavailable:
            raise CommandError("The cache does not answer.") from None
        except KeyboardInterrupt:
            raise CommandError("Stopped early.", returncode=_INTERRUPTED) from None
        finally:
            close_event_store_client()

    def _simulate(self, options: dict[str, Any]) -> None:
        if options["first"] and options["last"] and options["first"] > options["last"]:
            raise CommandError("--from is after --to.")
        policy = _policy(options)
        period = Period(options["first"], options["last"], timezone.get_default_timezone())
        with _progress() as on_page:
            report = report_on(policy, period, connect=event_store_client, on_page=on_page)
        if options["json"]:
            self.stdout.write(report.model_dump_json(indent=2))
            return
        self.stdout.ending = ""  # rich ends its lines itself
        _print(report, Console(file=cast(TextIO, self.stdout), highlight=False))


def _policy(options: dict[str, Any]) -> Policy:
    if options["policy_version"] is not None:
        try:
            return stored_policy(options["policy_version"], policies())
        except UnknownVersion as unknown:
            raise CommandError(str(unknown)) from None
    try:
        return policy_in(_text(options["file"]))
    except OSError as error:
        raise CommandError(f"{options['file']} cannot be read: {error.strerror}.") from None
    except NoPolicy as invalid:
        raise CommandError("\n".join([f"{options['file']}:", *invalid.problems])) from None


def _text(file: str) -> bytes:
    if file == "-":
        return sys.stdin.buffer.read(LARGEST_FILE + 1)
    with Path(file).open("rb") as stream:
        return stream.read(LARGEST_FILE + 1)


@contextmanager
def _progress() -> Iterator[loan_log.Progress]:
    """A bar on a terminal, and nothing elsewhere. In positions: events are not counted before."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as progress:
        task = progress.add_task("Reading the events", total=None)
        yield lambda reached, end: progress.update(task, completed=reached, total=end)


def _print(report: Report, console: Console) -> None:
    simulated = report.simulated
    _say(_about(simulated), console)
    if simulated.requests:
        console.print(_outcomes(simulated))
        console.print(_work(simulated))
    for each in simulated.contradictions:
        _say(each.sentence, console)
    if simulated.examples:
        _say("For example:", console)
    for example in simulated.examples:
        _say(_example(example), console)
    for sentence in report.left_out:
        _say(sentence, console)
    _say("It cannot know:", console)
    for sentence in report.cannot_know:
        _say(f"- {sentence}", console)


def _say(sentence: str, console: Console) -> None:
    # Whoever searches the output finds it on one line.
    console.print(sentence, soft_wrap=True)


def _about(simulated: Simulated) -> str:
    if not simulated.requests:
        return "There is no request to simulate."
    share = simulated.changed / simulated.requests
    requests = f"{simulated.requests:,} request{pluralize(simulated.requests)}"
    return (
        f"{requests} for {money(simulated.amount)}, from {simulated.first} to {simulated.last}; "
        f"{simulated.changed:,} ({share:.1%}) would stand otherwise."
    )


def _outcomes(simulated: Simulated) -> Table:
    table = Table("It was", "It would be", "Requests", "Amount")
    for column in table.columns[2:]:
        column.justify = "right"
    for cell in simulated.matrix:
        table.add_row(
            cell.was.words,
            cell.would_be.words,
            f"{cell.count:,}",
            money(cell.amount),
            style="bold" if is_changed(cell.was, cell.would_be) else "",
        )
    return table


def _work(simulated: Simulated) -> Table:
    table = Table("Work for people", "In all", "Per day", "Busiest day", "On it")
    for column in (table.columns[1], table.columns[2], table.columns[4]):
        column.justify = "right"
    for name, work in simulated.work.items():
        table.add_row(name, *_in_words(work))
    return table


def _in_words(work: Work) -> tuple[str, str, str, str]:
    busiest = str(work.busiest) if work.busiest else "-"
    return f"{work.total:,}", f"{work.per_day:,.1f}", busiest, f"{work.on_busiest:,}"


def _example(each: Example) -> str:
    known = f"{each.id}, {money(each.amount)}, score {each.score}"
    return f"- {known}: it was {each.was.words}, and would be {each.would_be.words}"


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is not a day such as 2026-11-29") from None


def _version(text: str) -> int:
    if text.isascii() and text.isdigit() and len(text) <= 10:  # noqa: PLR2004 (no version has more)
        return int(text)
    raise ArgumentTypeError(f"{text!r} is not a version's number")
