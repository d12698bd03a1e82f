"""Prepares the demo's database: applies the migrations and makes the demo's accounts.

Only the demo makes accounts with passwords that everyone knows. It does so in a child process,
because its own process's settings may name other databases than those of its children.
"""

from __future__ import annotations

from dataclasses import dataclass

from django.conf import settings
from django.contrib.auth.models import Group, User
from django.core.management import call_command
from django.db import transaction

from lepret.staff.roles import BACK_OFFICE, UNDERWRITERS


@dataclass(frozen=True)
class Account:
    """Somebody who can log in to the demo. The password is the name."""

    name: str
    role: str
    group: str | None = None
    is_staff: bool = False
    is_superuser: bool = False


ACCOUNTS = (
    Account("underwriter", "decides on requests", group=UNDERWRITERS),
    Account("clerk", "looks at everything", group=BACK_OFFICE, is_staff=True),
    Account("admin", "may do anything", is_staff=True, is_superuser=True),
)


def prepare() -> None:
    """Prepare the databases that the settings name. Idempotent."""
    _migrate()
    for account in ACCOUNTS:
        _make(account)


def _migrate() -> None:
    for alias in settings.DATABASES:
        call_command("migrate", database=alias, interactive=False, verbosity=0)


@transaction.atomic
def _make(account: Account) -> None:
    """Make the account, unless it exists."""
    if User.objects.filter(username=account.name).exists():
        return
    user = User.objects.create_user(
        account.name,
        password=account.name,
        is_staff=account.is_staff,
        is_superuser=account.is_superuser,
    )
    if account.group is not None:
        user.groups.add(Group.objects.get(name=account.group))
