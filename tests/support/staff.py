"""Accounts for tests."""

from __future__ import annotations

from django.contrib.auth.models import Group, User

from lepret.staff.roles import BACK_OFFICE, LEADS, POLICY_MAKERS, UNDERWRITERS


def make_underwriter(username: str = "uma") -> User:
    """A member of the underwriters' group."""
    user = User.objects.create_user(username)
    user.groups.add(Group.objects.get(name=UNDERWRITERS))
    return user


def make_lead(username: str = "lena") -> User:
    """An underwriter who is a lead."""
    user = make_underwriter(username)
    user.groups.add(Group.objects.get(name=LEADS))
    return user


def make_clerk(username: str = "clem") -> User:
    """A member of the back office's group."""
    user = User.objects.create_user(username, is_staff=True)
    user.groups.add(Group.objects.get(name=BACK_OFFICE))
    return user


def make_policy_maker(username: str = "pat") -> User:
    """A member of the group that makes the lending policy."""
    user = User.objects.create_user(username, is_staff=True)
    user.groups.add(Group.objects.get(name=POLICY_MAKERS))
    return user
