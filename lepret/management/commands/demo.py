"""`manage.py demo`: the whole system on this machine."""

from __future__ import annotations

import math
from argparse import ArgumentParser, ArgumentTypeError
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from lepret.common.option_types import number_in, port_from
from lepret.demo.system import DemoFailed, run


class Command(BaseCommand):
    help = (
        "Run the whole system on this machine: the web server, the projector, the workers, and an "
        "embedded server for each one that the environment does not name (EVENTSTORE_URI, "
        "DATABASE_URL, REDIS_URL). Ctrl-C stops it; the data stays."
    )
    # Only the children, whose settings the demo chooses, make these checks.
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--host", default="127.0.0.1", help="address of the web server (default: %(default)s)"
        )
        parser.add_argument(
            "--port", type=port_from(1), default=8000, help="its port (default: %(default)s)"
        )
        parser.add_argument(
            "--data-dir",
            type=Path,
            default=settings.ENVIRONMENT.lepret_data_dir,
            help="where the data is kept (default: LEPRET_DATA_DIR, or %(default)s)",
        )
        parser.add_argument(
            "--fresh", action="store_true", help="delete the data of earlier demos, then start"
        )
        parser.add_argument(
            "--outage",
            type=_seconds,
            metavar="SECONDS",
            help="how long the credit bureau is down after the start (default: not at all)",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            run(
                host=options["host"],
                port=options["port"],
                data_dir=options["data_dir"],
                fresh=options["fresh"],
                outage=options["outage"],
            )
        except DemoFailed as problem:
            raise CommandError(str(problem)) from problem


def _seconds(text: str) -> float:
    seconds = number_in(text)
    if not 0 < seconds < math.inf:
        raise ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return seconds
