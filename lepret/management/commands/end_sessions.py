"""`manage.py end_sessions`: log out somebody, or everybody, in all browsers at once."""

from __future__ import annotations

import logging
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from lepret.management.common import user_named
from lepret.staff import sessions

logger = logging.getLogger("lepret.staff.logins")


class Command(BaseCommand):
    help = "Log out somebody, or everybody, in all browsers at once."

    def add_arguments(self, parser: ArgumentParser) -> None:
        whose = parser.add_mutually_exclusive_group(required=True)
        whose.add_argument("username", nargs="?", help="the user")
        whose.add_argument("--all", action="store_true", help="everybody")

    def handle(self, *args: Any, username: str | None, **options: Any) -> None:
        user = None if username is None else user_named(username)
        count = sessions.end_sessions(user)
        whose = "everybody" if username is None else ascii(username)
        logger.info("%d sessions of %s ended by an operator", count, whose)
        self.stdout.write(f"{count} sessions ended.")
