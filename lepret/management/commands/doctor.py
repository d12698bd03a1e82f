"""`manage.py doctor`: what is wrong with the services that are configured, and what to do."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from lepret.common.event_store_client import close_event_store_client
from lepret.doctor.report import SECONDS, Check, Line, examine
from lepret.doctor.services import checks


class Command(BaseCommand):
    help = (
        "Ask every service that is configured whether it works: a line for each, with what was "
        "found, or with what is wrong and what to do. All are asked at once, and have "
        f"{SECONDS:g} seconds. The exit status is 0 if all are fine, and 1 otherwise. No secret is "
        "shown. --json prints a list of objects: name, is_fine, found."
    )
    requires_system_checks = ()  # They are about the settings; this is about what these name.

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "names",
            nargs="*",
            metavar="NAME",
            help=f"what to ask: {', '.join(checks())}; all if none is named",
        )
        parser.add_argument("--json", action="store_true", help="for programs")
        parser.add_argument(
            "--no-appends",
            action="store_true",
            help="only read the event store, as by a user who may not append: the projector's",
        )

    def handle(self, *args: Any, names: Sequence[str], **options: Any) -> None:
        chosen = _chosen(names, appends=not options["no_appends"])
        try:
            lines = list(examine(chosen))
        finally:
            close_event_store_client()
        self.stdout.write(_as_json(lines) if options["json"] else "\n".join(map(str, lines)))
        if not all(line.is_fine for line in lines):
            sys.exit(1)


def _chosen(names: Sequence[str], *, appends: bool) -> dict[str, Check]:
    known = checks(appends=appends)
    if unknown := set(names) - known.keys():
        raise CommandError(
            f"No service {', '.join(sorted(unknown))}. There are: {', '.join(known)}"
        )
    return {name: check for name, check in known.items() if not names or name in names}


def _as_json(lines: Sequence[Line]) -> str:
    return json.dumps([asdict(line) for line in lines], indent=2)
