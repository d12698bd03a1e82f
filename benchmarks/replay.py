"""How fast projections build read models from the events, on SQLite and on PostgreSQL.

    uv run --group test python benchmarks/replay.py --events 200000 --json

Fills an event store of its own with made-up loans and measures, each in a process of its own. The
store is the embedded one, or what `EVENTSTORE_TEST_COMMAND` starts or `EVENTSTORE_TEST_URI` names,
as for the tests; that must be empty, and is filled by appends, which takes minutes. Measured is:

- `raw`: only reading and decoding `$all`, the upper limit;
- `one`: the underwriters' queue, caught up from zero by the projector;
- `all`: all projections in one projector; events per second of the log, not of each projection;
- `plain`: the queue with one transaction per event, over the first `--plain-events` events;
- `growth`: by how many megabytes the projector of `all` grew after the first 10,000 events;
- `cores`: for each of these, which part of the machine's cores was used, by all processes.

The measuring process gets one core, the event store the others, and PostgreSQL whichever is free:
grpcio's client otherwise spends most of its time waking threads on other cores.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4, uuid5

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.cores import keep_apart, keep_to_one_core
from benchmarks.filling import fill_by_appends, fill_file
from benchmarks.machine import ran_on
from benchmarks.scripts import environment_with, output_of
from lepret.eventstore.writes import Append, Expectation, ProposedEvent
from loans.adapters import codec
from loans.domain.events import (
    AutoApproved,
    AutoDenied,
    CreditChecked,
    LoanEvent,
    LoanRequested,
    ManuallyApproved,
    ManuallyDenied,
    ManualReviewRequired,
)
from loans.simulation.made_up_applications import MadeUpApplication, made_up_applications
from tests.support.event_store import IS_EMBEDDED, URI, running_event_store
from tests.support.postgresql import running_postgresql

DESIGNS = ("one", "all", "plain")
HIGHEST_DENIED = 4
LOWEST_APPROVED = 7
# How many later requests are made before a decision; a fifth of them wait in the queue then. Not
# less than `APPENDS_AT_ONCE`.
DECIDED_AFTER_LOANS = 1_000
UNDECIDED_OF_A_HUNDRED = 10
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


def main() -> None:
    """Measure, and print a table."""
    arguments = _arguments()
    figures = _measure_all(arguments)
    Console().print(_table(figures))
    if arguments.json:
        print(json.dumps(figures))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--plain-events", type=int, default=10_000)
    parser.add_argument("--json", action="store_true", help="the figures as the last line")
    return parser.parse_args()


def _measure_all(arguments: argparse.Namespace) -> dict[str, Any]:
    machine = ran_on()
    with (
        tempfile.TemporaryDirectory() as folder,
        # First: a child of the process that is kept to one core would share it.
        running_postgresql() as postgresql,
        filled_event_store(Path(folder) / "events", arguments.events) as uri,
    ):
        return {
            "ran_on": machine,
            "events": arguments.events,
            "raw": measured("raw", arguments.events, uri)["per_second"],
            "sqlite": _run_all(arguments, uri, partial(_new_sqlite, folder)),
            "postgresql": _run_all(arguments, uri, postgresql.new_database),
        }


@contextmanager
def filled_event_store(folder: Path, events: int) -> Iterator[str]:
    """The URI of an event store with `events` events, on cores of its own."""
    if URI:
        fill_by_appends(URI, _appends(), events)
        keep_to_one_core()
        yield URI
        return
    if IS_EMBEDDED:
        folder.mkdir()
        fill_file(folder / "events.sqlite3", _appends(), events)
    with running_event_store(folder) as store:
        if not IS_EMBEDDED:
            fill_by_appends(store.uri, _appends(), events)
        keep_apart(*store.pids)
        yield store.uri


def _run_all(
    arguments: argparse.Namespace, uri: str, new_database: Callable[[], str]
) -> dict[str, float]:
    """Events per second of each measurement, its cores, and how much `all` grew."""
    plain = {"plain": arguments.plain_events}
    all_figures = {
        name: measured(name, plain.get(name, arguments.events), uri, new_database())
        for name in DESIGNS
    }
    per_second = {name: figures["per_second"] for name, figures in all_figures.items()}
    cores = {f"{name}_cores": figures["cores_used"] for name, figures in all_figures.items()}
    return {**per_second, **cores, "growth_mb": all_figures["all"]["growth_mb"]}


def _new_sqlite(folder: str) -> str:
    return f"sqlite:///{folder}/{uuid4().hex}.sqlite3"


def measured(name: str, events: int, uri: str, database: str | None = None) -> dict[str, float]:
    """What `replaying.py` measures, in a process of its own; with its own database, if any."""
    environment = environment_with(EVENTSTORE_URI=uri)
    if database is not None:
        environment["DATABASE_URL"] = database
        output_of(environment, "manage.py", "migrate", "--verbosity", "0")
    figures: dict[str, float] = json.loads(
        output_of(environment, "benchmarks/replaying.py", name, str(events))
    )
    return figures


# Made-up loans ----------------------------------------------------------------------------


def _appends() -> Iterator[Append]:
    """One append for each loan, and one for each later decision."""
    under_review: deque[tuple[int, Append]] = deque()
    for number, application in enumerate(made_up_applications(seed=1)):
        at = BEGAN + timedelta(seconds=number)
        score = number % 10 + 1
        yield _append(application, _requested(application, score, at))
        if HIGHEST_DENIED < score < LOWEST_APPROVED and number % 100 >= UNDECIDED_OF_A_HUNDRED:
            decision = [_decision(application, number, at + timedelta(hours=1))]
            under_review.append((number, _append(application, decision, Expectation.STREAM_EXISTS)))
        if under_review and number - under_review[0][0] >= DECIDED_AFTER_LOANS:
            yield under_review.popleft()[1]


def _append(
    application: MadeUpApplication,
    events: Iterable[LoanEvent],
    expected: Expectation = Expectation.NO_STREAM,
) -> Append:
    proposed = tuple(_proposed(event, application) for event in events)
    return Append(codec.stream_name(application.id), expected, proposed)


def _proposed(event: LoanEvent, application: MadeUpApplication) -> ProposedEvent:
    command_id = uuid5(application.id, type(event).__name__)
    encoded = codec.encode(event, command_id=command_id, user="benchmark")
    return ProposedEvent(
        encoded.id, encoded.type, is_json=True, data=encoded.data, metadata=encoded.metadata
    )


def _requested(of: MadeUpApplication, score: int, at: datetime) -> Iterator[LoanEvent]:
    yield LoanRequested(
        id=of.id, occurred_at=at, name=of.name, national_id=of.national_id, amount=of.amount,
        address=of.address,
    )  # fmt: skip
    yield CreditChecked(id=of.id, occurred_at=at, credit_score=score)
    if score <= HIGHEST_DENIED:
        yield AutoDenied(id=of.id, occurred_at=at)
    elif score >= LOWEST_APPROVED:
        yield AutoApproved(id=of.id, occurred_at=at)
    else:
        yield ManualReviewRequired(
            id=of.id, occurred_at=at, name=of.name, national_id=of.national_id, amount=of.amount,
            credit_score=score, requested_at=at,
        )  # fmt: skip


def _decision(of: MadeUpApplication, number: int, at: datetime) -> LoanEvent:
    if number % 2:
        return ManuallyApproved(id=of.id, occurred_at=at, decided_by="underwriter")
    return ManuallyDenied(
        id=of.id, occurred_at=at, decided_by="underwriter", reasons=("income_too_low",)
    )


def _table(figures: dict[str, Any]) -> Table:
    raw = figures["raw"]
    table = Table(
        "events per second", *DESIGNS, "cores", "growth",
        title=f"raw drain: {raw:,.0f}; {figures['ran_on']}",
    )  # fmt: skip
    for database in ("sqlite", "postgresql"):
        of = figures[database]
        growth = of["growth_mb"]
        table.add_row(
            database,
            *(f"{of[name]:,.0f} ({of[name] / raw:.2f})" for name in DESIGNS),
            ", ".join(f"{of[f'{name}_cores']:.0%}" for name in DESIGNS),
            "" if growth is None else f"{growth:.1f} MB",
        )
    return table


if __name__ == "__main__":
    main()
