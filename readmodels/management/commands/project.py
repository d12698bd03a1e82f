"""`manage.py project`: keeps the read models level with the event store."""

from __future__ import annotations

import signal
import threading
from argparse import ArgumentParser
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from esdbclient.exceptions import EventStoreDBClientException

from lepret.event_store_client import close_event_store_client, event_store_client
from readmodels.batches import DATABASE_AWAY, EventNotHandled
from readmodels.broadcasts import Broadcaster
from readmodels.feed import SubscriptionEnded
from readmodels.projections import PROJECTIONS, Projection
from readmodels.projector import Follower


class Command(BaseCommand):
    help = "Build read models from events: catch up from their checkpoints, then follow live."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "names",
            nargs="*",
            metavar="NAME",
            help=f"projections to run, of {', '.join(PROJECTIONS)}; all if none is named",
        )
        parser.add_argument("--rebuild", action="store_true", help="empty the tables first")
        parser.add_argument("--once", action="store_true", help="stop when caught up")

    def handle(self, *args: Any, **options: Any) -> None:
        projections = _named(options["names"])
        if options["rebuild"]:
            for projection in projections:
                projection.reset()
        stop = threading.Event()
        for signal_number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signal_number, lambda *_: stop.set())
        try:
            with Broadcaster() as broadcaster:
                followers = [
                    Follower(each, connect=event_store_client, announce=broadcaster.send, stop=stop)
                    for each in projections
                ]
                _run_all(
                    [each.catch_up if options["once"] else each.run for each in followers], stop
                )
        finally:
            close_event_store_client()


def _named(names: Sequence[str]) -> list[Projection]:
    unknown = set(names) - PROJECTIONS.keys()
    if unknown:
        known = ", ".join(PROJECTIONS)
        raise CommandError(f"No projection {', '.join(sorted(unknown))}. There are: {known}.")
    return [PROJECTIONS[name] for name in names or PROJECTIONS]


def _run_all(jobs: Sequence[Callable[[], None]], stop: threading.Event) -> None:
    """Run each job in a thread; when one fails, stop the others and tell."""
    with ThreadPoolExecutor(max_workers=len(jobs)) as executor:
        futures = [executor.submit(job) for job in jobs]
        done, _ = wait(futures, return_when=FIRST_EXCEPTION)
        stop.set()
    for future in done:
        try:
            future.result()
        except (*DATABASE_AWAY, EventStoreDBClientException, SubscriptionEnded) as error:
            raise CommandError(f"Lost what is needed: {type(error).__qualname__}") from None
        except EventNotHandled as error:
            raise CommandError(str(error)) from None
