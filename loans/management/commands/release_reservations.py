"""`manage.py release_reservations`: releases reservations that are no longer needed."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any, Final

from django.conf import settings
from django.core.management.base import BaseCommand

from lepret.common.event_store_client import event_store_client
from loans.dependencies import event_store, reservations
from loans.management.common import (
    add_replay_option,
    delay,
    losses_worker,
    replay_parked,
    work,
)
from loans.workers.groups import Group
from loans.workers.known_releases import KnownReleases
from loans.workers.losses import RESERVATION_LOSSES, Restorations
from loans.workers.redelivery import Redelivery
from loans.workers.reservation_releases import LAPSES, RELEASES, Lapses, Releases
from loans.workers.worker import Handler, Worker

THREADS: Final = 4
REDELIVERY: Final = Redelivery(retries=24, longest_delay=300.0)


class Command(BaseCommand):
    help = (
        "Release the reservations of loan requests that are decided, and of those that were never "
        "recorded. Run as many of these as you like: they share the work."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--lapse-after",
            type=delay,
            metavar="SECONDS",
            default=settings.RESERVATION_LAPSES_AFTER_SECONDS,
            help="how long a request may take to be recorded (default: %(default)g)",
        )
        add_replay_option(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        if options["replay_parked"]:
            replay_parked([RELEASES, LAPSES, RESERVATION_LOSSES], command=self)
            return
        seconds = options["lapse_after"]
        handlers: dict[Group, Handler] = {
            RELEASES: Releases(event_store=event_store(), reservations=reservations()),
            LAPSES: Lapses(
                reservations=reservations(lapse_after_seconds=seconds),
                releases=KnownReleases(event_store_client),
            ),
            RESERVATION_LOSSES: Restorations(
                reservations=reservations(), connect=event_store_client
            ),
        }
        workers = [
            Worker(
                group,
                handler,
                connect=event_store_client,
                redelivery=REDELIVERY,
                threads=THREADS,
            )
            for group, handler in handlers.items()
        ]
        work([*workers, losses_worker()], command=self, name="release_reservations")
