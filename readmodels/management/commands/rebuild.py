"""`manage.py rebuild`: rebuilds read models, while pages go on reading the old rows."""

from __future__ import annotations

import threading
from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

from lepret.common.event_store_client import close_event_store_client, event_store_client
from lepret.common.memory import prepare_memory
from lepret.common.stopping import stop_on_signals
from readmodels.management.common import add_names, away, named
from readmodels.projections import Projection
from readmodels.projector.batches import DATABASE_AWAY, NewerVersionIsLive
from readmodels.projector.coordination.advisory_locks import only_one
from readmodels.projector.feeds import EVENT_STORE_AWAY, EventStoreSource, Feeds
from readmodels.projector.rebuilding import (
    Advance,
    Rebuilder,
    RebuildInterrupted,
    RebuildRunsElsewhere,
    RebuildStopped,
    drop,
    lock_name,
)


class Command(BaseCommand):
    help = (
        "Build read models anew from all events, in tables that replace the live ones when they "
        "have caught up. If it is interrupted, run it again to resume."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_names(parser)
        parser.add_argument(
            "--drop", action="store_true", help="drop the table of an interrupted rebuild"
        )
        parser.add_argument(
            "--older-version",
            action="store_true",
            help="go back to this version: rebuild even if a newer version's rows are live, and "
            "leave out events that only a newer one can read",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        projections = named(options["names"])
        try:
            if options["drop"]:
                self._drop(projections)
            else:
                self._rebuild(projections, to_older=options["older_version"])
        except (*DATABASE_AWAY, *EVENT_STORE_AWAY) as error:
            raise away(error) from None
        finally:
            close_event_store_client()

    def _drop(self, projections: Sequence[Projection]) -> None:
        for projection in projections:
            name = projection.name
            with only_one(lock_name(name)) as is_alone:
                if not is_alone:
                    raise CommandError(f"{name}: another process rebuilds it; stop that first.")
                outcome = "dropped" if drop(projection) else "no rebuild is under way"
            self.stdout.write(f"{name}: {outcome}")

    def _rebuild(self, projections: Sequence[Projection], *, to_older: bool) -> None:
        prepare_memory()
        stop = threading.Event()
        stop_on_signals(stop)
        feeds = Feeds(EventStoreSource(event_store_client))
        for projection in projections:
            with _bar(projection.name, feeds.source.last_position()) as bar:
                rebuilder = Rebuilder(
                    projection, feeds=feeds, stop=stop, advanced=bar.advance, to_older=to_older
                )
                self._run(rebuilder, projection.name)
            self.stdout.write(f"{projection.name}: rebuilt, and live. {bar.events} events.")

    def _run(self, rebuilder: Rebuilder, name: str) -> None:
        try:
            rebuilder.run()
        except RebuildInterrupted:
            raise CommandError(
                f"{name}: interrupted. Run it again to resume it, or with --drop to give it up."
            ) from None
        except RebuildRunsElsewhere:
            raise CommandError(
                f"{name}: another process rebuilds it, or has just done so, or has dropped it."
            ) from None
        except RebuildStopped as error:
            raise CommandError(str(error)) from None
        except NewerVersionIsLive:
            raise CommandError(
                f"{name}: a newer version's rows are live; --older-version goes back to this one's."
            ) from None


class _Bar:
    """Shows a rebuild's progress in commit positions, since the number of events is not known."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress = progress
        self._task = task
        self.events = 0

    def advance(self, to: Advance) -> None:
        self.events = to.events
        rate = f"{to.pace:,.0f} events/s"
        self._progress.update(self._task, completed=to.position, rate=rate)


@contextmanager
def _bar(name: str, last_position: int) -> Iterator[_Bar]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        yield _Bar(progress, progress.add_task(name, total=last_position or None, rate=""))
