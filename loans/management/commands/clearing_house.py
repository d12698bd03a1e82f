"""`manage.py clearing_house`: a credit bureau over HTTP, to try the system with."""

from __future__ import annotations

import math
import threading
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Callable
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from lepret.common.option_types import number_in, port_from
from lepret.common.stopping import stop_on_signals, wait_for
from loans.simulation.clearing_house import ClearingHouse
from loans.simulation.manners import Manners

SECONDS_BETWEEN_LOOKS = 0.1


class Command(BaseCommand):
    help = (
        "Run a credit bureau that makes its scores up, for CREDIT_BUREAU_URL to name. It can be "
        "told to be slow, to fail, and to answer garbage. GET /asks tells what it was asked."
    )
    requires_system_checks = ()  # it is no part of the system, which only talks to it

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--host", default="127.0.0.1", help="default: %(default)s")
        parser.add_argument(
            "--port",
            type=port_from(0),
            default=8100,
            help="0 takes a free one (default: %(default)s)",
        )
        parser.add_argument(
            "--latency",
            type=_number(0, math.inf),
            default=0.1,
            metavar="SECONDS",
            help="before each answer (default: %(default)s)",
        )
        parser.add_argument(
            "--failure-rate",
            type=_number(0, 1),
            default=0.0,
            metavar="RATE",
            help="of all asks, from 0 to 1: errors, connections broken off, no answer (default: 0)",
        )
        parser.add_argument(
            "--garbage-rate",
            type=_number(0, 1),
            default=0.0,
            metavar="RATE",
            help="of all asks, from 0 to 1: scores that are none (default: 0)",
        )
        parser.add_argument("--seed", type=int, help="has the same asks go wrong each time")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["failure_rate"] + options["garbage_rate"] > 1:
            raise CommandError("--failure-rate and --garbage-rate are more than 1 together")
        manners = Manners(
            latency=options["latency"],
            failure_rate=options["failure_rate"],
            garbage_rate=options["garbage_rate"],
            seed=options["seed"],
        )
        with _clearing_house(options["host"], options["port"], manners) as clearing_house:
            self._serve(clearing_house)

    def _serve(self, clearing_house: ClearingHouse) -> None:
        stop = threading.Event()
        stop_on_signals(stop)
        serving = threading.Thread(
            target=clearing_house.serve_forever, args=(SECONDS_BETWEEN_LOOKS,), daemon=True
        )
        serving.start()
        self.stdout.write(f"credit bureau ready on {clearing_house.url}")
        self.stdout.flush()
        wait_for(stop)
        clearing_house.shutdown()


def _clearing_house(host: str, port: int, manners: Manners) -> ClearingHouse:
    try:
        return ClearingHouse(host, port, manners)
    except OSError as error:
        raise CommandError(
            f"Cannot listen on {host}, port {port} ({error.strerror}); "
            "choose others with --host and --port"
        ) from error


def _number(least: float, most: float) -> Callable[[str], float]:
    def number(text: str) -> float:
        value = number_in(text)
        if math.isfinite(value) and least <= value <= most:
            return value
        bounds = f"from {least:g} up" if most == math.inf else f"from {least:g} to {most:g}"
        raise ArgumentTypeError(f"{text!r} is not a number {bounds}")

    return number
