"""`manage.py provider_account`: which users belong to which accounts at the identity provider."""

from __future__ import annotations

import logging
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError

from lepret.management.common import user_named
from lepret.models import LONGEST_SUBJECT, ProviderAccount
from lepret.staff import provider_accounts

logger = logging.getLogger("lepret.staff.logins")


class Command(BaseCommand):
    help = "List, link and unlink users and their accounts at the identity provider."

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        actions.add_parser("list", help="list all links")
        link = actions.add_parser("link", help="let an account at the provider sign in as a user")
        link.add_argument("username", help="a user who exists here")
        link.add_argument("subject", help="the provider's own name for the account: claim `sub`")
        unlink = actions.add_parser("unlink", help="undo that")
        unlink.add_argument("username", help="the user")

    def handle(self, *args: Any, action: str, **options: Any) -> None:
        match action:
            case "list":
                for account in ProviderAccount.objects.select_related("user").order_by("pk"):
                    self.stdout.write(f"{account.user.username}: {account}")
            case "link":
                self._link(user_named(options["username"]), options["subject"])
            case "unlink":
                self._unlink(user_named(options["username"]))

    def _link(self, user: User, subject: str) -> None:
        if not settings.OIDC_ISSUER:
            raise CommandError("OIDC_ISSUER is not set")
        if not (subject and subject.isprintable() and len(subject) <= LONGEST_SUBJECT):
            raise CommandError(f"{subject!r} is no subject")
        try:
            account = provider_accounts.link(user, settings.OIDC_ISSUER, subject)
        except ValueError as error:
            raise CommandError(f"{error}; see `provider_account list`") from None
        logger.info("%s was linked with %s by an operator", user.username, account)
        self.stdout.write(f"Linked {user.username} with {account}.")

    def _unlink(self, user: User) -> None:
        deleted, _ = ProviderAccount.objects.filter(user=user).delete()
        if not deleted:
            raise CommandError(f"{user.username} is linked with no account")
        logger.info("%s was unlinked from the identity provider by an operator", user.username)
        self.stdout.write(f"Unlinked {user.username}.")
