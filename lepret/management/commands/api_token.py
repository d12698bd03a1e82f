"""`manage.py api_token`: make, list and revoke the tokens that programs call the API with."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError
from datetime import datetime, timedelta
from typing import Any, Final, TextIO, cast

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone
from rich.console import Console
from rich.table import Table

from lepret.api import tokens
from lepret.management.common import user_named
from lepret.models import LONGEST_TOKEN_NAME, ApiToken, Scope

LONGEST_DAYS: Final = 3650


class Command(BaseCommand):
    help = "Make, list and revoke the tokens that programs call the API with."

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        create = actions.add_parser("create", help="make a token and print it once")
        create.add_argument("username", help="the user for whom it acts")
        create.add_argument(
            "--scope",
            action="append",
            required=True,
            choices=Scope.values,
            help="what it allows; may be given more than once",
        )
        create.add_argument("--name", required=True, type=_name, help="its name in lists")
        create.add_argument(
            "--days", type=_days, help="how many days it is valid (default: until it is revoked)"
        )
        actions.add_parser("list", help="list all tokens, with when each was last used")
        revoke = actions.add_parser("revoke", help="revoke a token, at once and for good")
        revoke.add_argument("id", type=int, help="its ID in the list")

    def handle(self, *args: Any, action: str, **options: Any) -> None:
        match action:
            case "create":
                self._create(**options)
            case "list":
                self._list()
            case "revoke":
                self._revoke(options["id"])

    def _create(
        self, *, username: str, scope: list[str], name: str, days: int | None, **_: Any
    ) -> None:
        user = user_named(username)
        expires_at = None if days is None else timezone.now() + timedelta(days=days)
        scopes = {Scope(each) for each in scope}
        token, kept = tokens.issue(user, name=name, scopes=scopes, expires_at=expires_at)
        # The token is alone on stdout, for scripts that store it.
        self.stderr.write(f"Token {kept.pk}. It is shown this once:", self.style.NOTICE)
        self.stdout.write(token)

    def _list(self) -> None:
        now = timezone.now()
        table = Table("ID", "User", "Name", "Scopes", "State", "Created", "Expires", "Last used")
        for token in ApiToken.objects.select_related("user").order_by("pk"):
            table.add_row(
                str(token.pk),
                token.user.username,
                token.name,
                " ".join(token.scopes),
                token.state(now),
                *map(_in_words, (token.created_at, token.expires_at, token.last_used_at)),
            )
        self.stdout.ending = ""  # rich ends its lines itself
        Console(file=cast(TextIO, self.stdout), highlight=False).print(table)

    def _revoke(self, token_id: int) -> None:
        token = ApiToken.objects.filter(pk=token_id).first()
        if token is None:
            raise CommandError(f"There is no token {token_id}")
        tokens.revoke(token)
        self.stdout.write(f"Revoked {token}.")


def _in_words(moment: datetime | None) -> str:
    return "never" if moment is None else f"{moment:%Y-%m-%d %H:%M}"


def _name(text: str) -> str:
    if not (text.strip() and text.isprintable() and len(text) <= LONGEST_TOKEN_NAME):
        raise ArgumentTypeError(
            f"{text!r} is not a name of at most {LONGEST_TOKEN_NAME} characters"
        )
    return text


def _days(text: str) -> int:
    if text.isascii() and text.isdigit() and 1 <= int(text) <= LONGEST_DAYS:
        return int(text)
    raise ArgumentTypeError(f"{text!r} is not a number of days from 1 to {LONGEST_DAYS}")
