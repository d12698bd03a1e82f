"""`manage.py database_roles`: makes PostgreSQL roles for the web server and the projector."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

import psycopg
from django.core.management.base import BaseCommand, CommandError
from django.db import connection

from lepret.deployment.database_roles import PROJECTOR, WEB, set_up_roles


class Command(BaseCommand):
    help = (
        f"Make the roles {WEB} and {PROJECTOR} in the database of DATABASE_URL, whose owner it "
        "names, or bring their passwords and rights up to date. To be run after each migrate."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        for role in ("web", "projector"):
            parser.add_argument(f"--{role}-password-file", type=Path, required=True, metavar="FILE")

    def handle(self, *args: Any, **options: Any) -> None:
        if connection.vendor != "postgresql":
            raise CommandError("DATABASE_URL is not PostgreSQL's: other databases have no roles.")
        web, projector = (
            _password(options[f"{role}_password_file"]) for role in ("web", "projector")
        )
        connection.ensure_connection()
        try:
            set_up_roles(connection.connection, web_password=web, projector_password=projector)
        except psycopg.Error as error:
            reason = error.diag.message_primary or type(error).__qualname__
            raise CommandError(f"The roles cannot be set up: {reason}.") from None
        self.stdout.write(f"{WEB} and {PROJECTOR} are up to date")


def _password(file: Path) -> str:
    try:
        password = file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"{file} cannot be read ({type(error).__name__}).") from None
    if not password:
        raise CommandError(f"{file} is empty.")
    return password
