"""`manage.py project`: keeps the read models up to date with the event store."""

from __future__ import annotations

import getpass
import threading
from argparse import ArgumentParser
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from lepret.common.event_store_client import close_event_store_client, event_store_client
from lepret.common.memory import prepare_memory
from lepret.common.stopping import WAKE_SECONDS, stop_on_signals
from readmodels.live.broadcasts import Broadcaster
from readmodels.management.common import add_names, away, named
from readmodels.projections import Projection
from readmodels.projector import failures
from readmodels.projector.batches import DATABASE_AWAY, EventNotHandled, NewerVersionIsLive
from readmodels.projector.bookmarks import StoreReplaced
from readmodels.projector.coordination.coordinator import NoCoordinator, coordinator
from readmodels.projector.feeds import EVENT_STORE_AWAY, EventStoreSource, Feeds
from readmodels.projector.follower import Follower
from readmodels.projector.rebuilding import (
    Rebuilder,
    RebuildInterrupted,
    RebuildRunsElsewhere,
    RebuildStopped,
)
from readmodels.projector.tuning import Tuning

Job = Callable[[], object]


class Command(BaseCommand):
    help = (
        "Build read models from events: catch up from their checkpoints, then follow live. "
        "Or let projections that have stopped at an event retry it, or skip it for good."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_names(parser)
        parser.add_argument(
            "--rebuild", action="store_true", help="first build anew, as `manage.py rebuild` does"
        )
        instead = parser.add_mutually_exclusive_group()
        instead.add_argument("--once", action="store_true", help="stop when caught up")
        instead.add_argument(
            "--retry",
            nargs="+",
            metavar="NAME",
            help="let stopped projections try again, in the projector that runs",
        )
        instead.add_argument(
            "--skip",
            type=int,
            metavar="POSITION",
            help="let the projections that are stopped at POSITION skip the event there for good",
        )
        parser.add_argument("--why", metavar="TEXT", help="why it is skipped; kept, with --by")
        parser.add_argument("--by", metavar="WHO", help="who decided that (default: your login)")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["rebuild"] and (options["retry"] or options["skip"] is not None):
            raise CommandError("--rebuild does not go with --retry or --skip.")
        if options["skip"] is not None:
            self._skip(options)
        elif options["why"] or options["by"]:
            raise CommandError("--why and --by go with --skip.")
        elif options["retry"]:
            self._retry(named([*options["retry"], *options["names"]]))
        else:
            _project(named(options["names"]), rebuild=options["rebuild"], once=options["once"])

    def _retry(self, projections: Sequence[Projection]) -> None:
        names = [each.name for each in projections]
        try:
            failures.retry(names)
        except failures.NotStopped as error:
            raise CommandError(str(error)) from None
        self.stdout.write(f"{', '.join(names)}: tried again by the projector that runs.")

    def _skip(self, options: dict[str, Any]) -> None:
        if not (options["why"] or "").strip():
            raise CommandError("Say with --why why the event is left out; it is kept for good.")
        names = [each.name for each in named(options["names"])] if options["names"] else []
        try:
            skipped = failures.skip(
                options["skip"],
                names=names,
                why=options["why"].strip(),
                by=options["by"] or getpass.getuser(),
            )
        except failures.NotStopped as error:
            raise CommandError(str(error)) from None
        self.stdout.write(f"{', '.join(skipped)}: goes on without {options['skip']}.")


def _project(projections: Sequence[Projection], *, rebuild: bool, once: bool) -> None:
    prepare_memory()
    stop = threading.Event()
    stop_on_signals(stop)
    tuning = Tuning(**settings.PROJECTOR_TUNING)
    feeds = Feeds(EventStoreSource(event_store_client, tuning), tuning)
    rebuilders = [Rebuilder(each, feeds=feeds, stop=stop, tuning=tuning) for each in projections]
    try:
        if rebuild or once:
            run_all([each.run if rebuild else each.run_if_needed for each in rebuilders], stop)
        names = [each.name for each in projections]
        assigning = NoCoordinator() if once else coordinator(names, stop=stop, tuning=tuning)
        with Broadcaster() as announcer, assigning:
            followers = [
                Follower(
                    each,
                    feeds=feeds,
                    announcer=announcer,
                    coordinator=assigning,
                    stop=stop,
                    tuning=tuning,
                )
                for each in projections
            ]
            if once:
                run_all([each.catch_up for each in followers], stop)
            else:
                builds = [each.run_until_not_needed for each in rebuilders]
                run_all([*(each.run for each in followers), *builds], stop)
    finally:
        close_event_store_client()


def run_all(jobs: Sequence[Job], stop: threading.Event) -> None:
    """Run each job in a thread; if one fails, stop the others.

    Raises:
        CommandError: a job failed; its message is the first one's reason.
    """
    with ThreadPoolExecutor(max_workers=len(jobs)) as executor:
        futures = [executor.submit(job) for job in jobs]
        if not _all_end_well(futures):
            stop.set()
    for future in futures:
        try:
            future.result()
        except (*DATABASE_AWAY, *EVENT_STORE_AWAY) as error:
            raise away(error) from None
        except NewerVersionIsLive:
            raise CommandError("A newer version's rows are live; nothing was changed.") from None
        except StoreReplaced:
            raise CommandError(
                "The event store went back, or is another one; nothing was changed. If it is the "
                "right one, `manage.py rebuild`."
            ) from None
        except RebuildRunsElsewhere:
            raise CommandError("Another process rebuilds it, or has just done so.") from None
        except (EventNotHandled, RebuildStopped) as error:
            raise CommandError(str(error)) from None
        except RebuildInterrupted:
            return


def _all_end_well(futures: Sequence[Future[object]]) -> bool:
    """Wait until all have ended or one has failed; returns whether all ended well."""
    while True:
        done, rest = wait(futures, timeout=WAKE_SECONDS, return_when=FIRST_EXCEPTION)
        if any(each.exception() is not None for each in done):
            return False
        if not rest:
            return True
