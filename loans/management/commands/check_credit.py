"""`manage.py check_credit`: scores requests that were accepted without a credit score."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from lepret.common.event_store_client import event_store_client
from lepret.common.option_types import whole_number
from loans.dependencies import credit_bureau, event_store, policies
from loans.management.common import (
    add_replay_option,
    delay,
    losses_worker,
    replay_parked,
    work,
)
from loans.workers.credit_checks import CREDIT_CHECKS, CreditChecks
from loans.workers.redelivery import Redelivery
from loans.workers.worker import Worker


class Command(BaseCommand):
    help = (
        "Ask the credit bureau about loan requests that were accepted without a credit score, "
        "until it answers. Run as many of these as you like: they share the work."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--retries",
            type=whole_number,
            default=settings.CREDIT_CHECK_RETRIES,
            help="how often a check is retried before it is parked (default: %(default)s)",
        )
        parser.add_argument(
            "--longest-delay",
            type=delay,
            metavar="SECONDS",
            default=settings.CREDIT_CHECK_LONGEST_DELAY_SECONDS,
            help="the longest delay before a retry; delays begin at one second, and double "
            "(default: %(default)g)",
        )
        parser.add_argument(
            "--threads",
            type=whole_number,
            default=settings.CREDIT_CHECK_THREADS,
            help="how many requests are checked at the same time (default: %(default)s)",
        )
        add_replay_option(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        if options["replay_parked"]:
            replay_parked([CREDIT_CHECKS], command=self)
            return
        worker = Worker(
            CREDIT_CHECKS,
            CreditChecks(
                event_store=event_store(), credit_bureau=credit_bureau(), policies=policies()
            ),
            connect=event_store_client,
            redelivery=Redelivery(options["retries"], options["longest_delay"]),
            threads=options["threads"],
        )
        work([worker, losses_worker()], command=self, name="check_credit")
