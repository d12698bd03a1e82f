"""Accounts for tests."""

from __future__ import annotations

from django.contrib.auth.models import Group, User

from lepret.staff.roles import BACK_OFFICE, UNDERWRITERS


def make_underwriter(username: str = "uma") -> User:
    """A member of the underwriters' group."""
    user = User.objects.create_user(username)
    user.groups.add(Group.objects.get(name=UNDERWRITERS))
    return user


def make_clerk(username: str = "clem") -> User:
    """A member of the back office's group."""
    user = User.objects.create_user(username, is_staff=True)
    user.groups.add(Group.objects.get(name=BACK_OFFICE))
    return user
