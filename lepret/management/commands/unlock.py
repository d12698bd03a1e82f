"""`manage.py unlock`: let an account, or an address, try passwords again at once."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from lepret.management.common import user_named
from lepret.staff import attempts, second_factor


class Command(BaseCommand):
    help = "Let an account, or an address, try passwords again at once."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("username", nargs="?", help="the account, for all addresses")
        parser.add_argument("--address", help="the address, for all accounts")

    def handle(self, *args: Any, username: str | None, address: str | None, **options: Any) -> None:
        if username is None and address is None:
            raise CommandError("Name an account, or an --address, or both")
        user = None if username is None else user_named(username)
        if user is not None:
            second_factor.forgive(user)
        counters = attempts.unlock(username=username, address=address)
        self.stdout.write("Unlocked." if counters else "Nothing was counted: it was not locked.")
