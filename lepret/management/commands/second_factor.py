"""`manage.py second_factor`: who has one, and remove it from somebody who has lost it."""

from __future__ import annotations

import logging
from argparse import ArgumentParser
from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from lepret.management.common import user_named
from lepret.models import AuthenticatorApp
from lepret.staff import second_factor

logger = logging.getLogger("lepret.staff.logins")


class Command(BaseCommand):
    help = "List who has a second factor, and remove it from somebody who has lost it."

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        actions.add_parser("list", help="list all users, with whether they have a second factor")
        reset = actions.add_parser("reset", help="remove somebody's second factor")
        reset.add_argument("username", help="the user who has lost it")

    def handle(self, *args: Any, action: str, **options: Any) -> None:
        match action:
            case "list":
                self._list()
            case "reset":
                self._reset(options["username"])

    def _list(self) -> None:
        apps = {app.user_id: app for app in AuthenticatorApp.objects.filter(confirmed=True)}
        for user in User.objects.filter(is_active=True).order_by("username"):
            self.stdout.write(f"{user.username}: {_in_words(apps.get(user.pk))}")

    def _reset(self, username: str) -> None:
        user = user_named(username)
        if not second_factor.remove(user):
            raise CommandError(f"{username} has no second factor")
        logger.info("The second factor of %s was removed by an operator", username)
        self.stdout.write(f"Removed. {username} can log in without it, or set up another.")


def _in_words(app: AuthenticatorApp | None) -> str:
    if app is None:
        return "none"
    if not app.verify_is_allowed()[0]:
        return f"blocked for a while after {app.throttling_failure_count} wrong codes"
    used = timezone.localtime(app.last_used_at or app.created_at)
    return f"last used {used:%Y-%m-%d %H:%M}"
