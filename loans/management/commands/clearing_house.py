"""`manage.py clearing_house`: a simulated credit bureau over HTTP, to try the system with."""

from __future__ import annotations

import math
import threading
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Callable
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from lepret.common.option_types import number_in, port_from
from lepret.common.stopping import stop_on_signals, wait_for
from loans.simulation.bureau_server import BureauServer
from loans.simulation.misbehaviour import RandomMisbehaviour

SHUTDOWN_POLL_SECONDS = 0.1


class Command(BaseCommand):
    help = (
        "Run a credit bureau that makes up its scores. CREDIT_BUREAU_URL must name its address. It "
        "can be slow, fail, and answer garbage. GET /asks counts the requests for scores."
    )
    requires_system_checks = ()  # the checks are about the system, which only calls it

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--host", default="127.0.0.1", help="default: %(default)s")
        parser.add_argument(
            "--port",
            type=port_from(0),
            default=8100,
            help="0 picks a free one (default: %(default)s)",
        )
        parser.add_argument(
            "--latency",
            type=_number(0, math.inf),
            default=0.1,
            metavar="SECONDS",
            help="before each answer (default: %(default)s)",
        )
        for option, what in (
            ("--failure-rate", "errors, broken connections, no answer"),
            ("--garbage-rate", "answers without a valid score"),
        ):
            parser.add_argument(
                option,
                type=_number(0, 1),
                default=0.0,
                metavar="RATE",
                help=f"share of requests, from 0 to 1: {what} (default: 0)",
            )
        parser.add_argument("--seed", type=int, help="makes the same requests go wrong each time")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["failure_rate"] + options["garbage_rate"] > 1:
            raise CommandError("--failure-rate and --garbage-rate are more than 1 together")
        with _listening(**options) as server:
            self._serve(server)

    def _serve(self, server: BureauServer) -> None:
        stop = threading.Event()
        stop_on_signals(stop)
        serving = threading.Thread(
            target=server.serve_forever, args=(SHUTDOWN_POLL_SECONDS,), daemon=True
        )
        serving.start()
        self.stdout.write(f"credit bureau ready on {server.url}")
        self.stdout.flush()
        wait_for(stop)
        server.shutdown()


def _listening(*, host: str, port: int, latency: float, **options: Any) -> BureauServer:
    rates = {name: options[name] for name in ("failure_rate", "garbage_rate", "seed")}
    try:
        return BureauServer(host, port, latency=latency, misbehave=RandomMisbehaviour(**rates))
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
