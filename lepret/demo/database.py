"""Prepares the demo's database: applies the migrations and makes the demo's accounts.

Only the demo makes accounts with passwords that everyone knows. It does so in a child process,
because its own process's settings may name other databases than those of its children. That these
are a demo's own was checked before: see `lepret.demo.ownership`.
"""

from __future__ import annotations

from dataclasses import dataclass

from django.conf import settings
from django.contrib.auth.models import Group, User
from django.core.management import call_command
from django.db import transaction

from lepret.demo.ownership import mark
from lepret.staff.roles import BACK_OFFICE, LEADS, POLICY_MAKERS, UNDERWRITERS


@dataclass(frozen=True)
class Account:
    """Somebody who can log in to the demo."""

    name: str
    role: str
    groups: tuple[str, ...] = ()
    is_staff: bool = False
    is_superuser: bool = False


ACCOUNTS = (
    Account("underwriter", "decides on requests", (UNDERWRITERS,)),
    Account("colleague", "decides on requests, too", (UNDERWRITERS,)),
    Account("lead", "decides what others escalate, too", (UNDERWRITERS, LEADS)),
    Account("clerk", "looks at everything", (BACK_OFFICE,), is_staff=True),
    Account("policy", "proposes lending policies", (POLICY_MAKERS,), is_staff=True),
    Account("policy-second", "confirms them", (POLICY_MAKERS,), is_staff=True),
    Account("admin", "may do anything", is_staff=True, is_superuser=True),
)


def prepare(*, password: str, is_shared: bool) -> None:
    """Prepare the databases that the settings name. Idempotent.

    Each account's password is its name, as long as only this machine can reach the demo. Otherwise,
    if it `is_shared`, the password of all accounts is `password`.
    """
    for alias in settings.DATABASES:
        mark(alias)
    _migrate()
    for account in ACCOUNTS:
        wanted, other = (password, account.name) if is_shared else (account.name, password)
        _make(account, password=wanted, instead_of=other)


def _migrate() -> None:
    for alias in settings.DATABASES:
        call_command("migrate", database=alias, interactive=False, verbosity=0)


@transaction.atomic
def _make(account: Account, *, password: str, instead_of: str) -> None:
    """Make the account. If it exists, only replace `instead_of`: its user may have chosen another.

    A password that an earlier version stored as any server would is stored as a demo's: Django does
    so when it checks it.
    """
    user = User.objects.filter(username=account.name).first()
    if user is None:
        _make_new(account, password)
    elif not user.check_password(password) and user.check_password(instead_of):
        user.set_password(password)
        user.save(update_fields=["password"])


def _make_new(account: Account, password: str) -> None:
    user = User.objects.create_user(
        account.name,
        password=password,
        is_staff=account.is_staff,
        is_superuser=account.is_superuser,
    )
    user.groups.add(*Group.objects.filter(name__in=account.groups))
