"""Which user somebody is who signs in by the identity provider, and in which groups."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any, Final

from django.conf import settings
from django.contrib.auth.models import Group, User
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

from lepret.models import LONGEST_SUBJECT, ProviderAccount
from lepret.staff.roles import BACK_OFFICE, IN_ADMIN, LEADS, POLICY_MAKERS, UNDERWRITERS

_ROLES: Final = (UNDERWRITERS, LEADS, BACK_OFFICE, POLICY_MAKERS)


class NotLetIn(Exception):
    """The provider vouches for somebody who may not come in.

    Attributes:
        words: why, for that person.
    """

    def __init__(self, why: str, words: str) -> None:
        super().__init__(why)
        self.words = words


def user_of(issuer: str, claims: Mapping[str, Any]) -> User:
    """The user with this account at the provider, with the groups that the claims name.

    Somebody who is here for the first time gets a user, without a password.

    Raises:
        NotLetIn: there is no such user, and none can be made; or the user may do nothing here.
    """
    subject, roles = _subject_in(claims), roles_in(claims)
    account = _account(issuer, subject) or _new_account(issuer, subject, claims, roles)
    user = account.user
    set_roles(user, roles)
    if not user.is_active:
        raise NotLetIn(
            f"the user {user.get_username()} is switched off", "Your account was switched off."
        )
    if not (roles or user.is_superuser):
        raise _no_role(user.get_username())
    return user


def roles_in(claims: Mapping[str, Any]) -> set[str]:
    """Those of our groups that the claims name by the provider's names for them."""
    named = claims.get(settings.OIDC_GROUPS_CLAIM, [])
    named = [named] if isinstance(named, str) else named
    if not isinstance(named, list):
        return set()
    ours = (
        (settings.OIDC_UNDERWRITERS_GROUP, UNDERWRITERS),
        (settings.OIDC_LEADS_GROUP, LEADS),
        (settings.OIDC_BACK_OFFICE_GROUP, BACK_OFFICE),
        (settings.OIDC_POLICY_GROUP, POLICY_MAKERS),
    )
    return {group for theirs, group in ours if theirs and theirs in named}


def set_roles(user: User, roles: Set[str]) -> None:
    """Put a user into these of our groups, and into no other of ours."""
    with transaction.atomic():
        for group in Group.objects.filter(name__in=_ROLES):
            (user.groups.add if group.name in roles else user.groups.remove)(group)
        user.is_staff = not IN_ADMIN.isdisjoint(roles) or user.is_superuser
        user.save(update_fields=["is_staff"])


def link(user: User, issuer: str, subject: str) -> ProviderAccount:
    """Let the owner of an account at the provider sign in as a user that exists.

    Raises:
        ValueError: one of both belongs together with another already.
    """
    try:
        with transaction.atomic():
            return ProviderAccount.objects.create(user=user, issuer=issuer, subject=subject)
    except IntegrityError:
        raise ValueError("the user or the account at the provider is linked already") from None


def _account(issuer: str, subject: str) -> ProviderAccount | None:
    return (
        ProviderAccount.objects.select_related("user")
        .filter(issuer=issuer, subject=subject)
        .first()
    )


def _new_account(
    issuer: str, subject: str, claims: Mapping[str, Any], roles: Set[str]
) -> ProviderAccount:
    username = _username_in(claims)
    if not roles:
        raise _no_role(username)
    try:
        with transaction.atomic():
            # Whoever decides is named by it: two that differ only in case would be mistaken.
            if User.objects.filter(username__iexact=username).exists():
                raise _taken(username, subject)
            user = User.objects.create_user(username)
            return ProviderAccount.objects.create(user=user, issuer=issuer, subject=subject)
    except IntegrityError:  # The same person signed in twice at once.
        raise _taken(username, subject) from None


def _subject_in(claims: Mapping[str, Any]) -> str:
    subject = claims.get("sub")
    is_valid = isinstance(subject, str) and subject.isprintable() and subject
    if not is_valid or len(str(subject)) > LONGEST_SUBJECT:
        raise NotLetIn("the claim sub is not valid", _ASK_YOUR_ADMINISTRATOR)
    return str(subject)


def _username_in(claims: Mapping[str, Any]) -> str:
    username = claims.get(settings.OIDC_USERNAME_CLAIM)
    if isinstance(username, str):
        username = User.normalize_username(username)
        try:
            User._meta.get_field("username").clean(username, None)
        except ValidationError:
            pass
        else:
            return username
    claim = settings.OIDC_USERNAME_CLAIM
    raise NotLetIn(f"the claim {claim} is no valid user name", _ASK_YOUR_ADMINISTRATOR)


_ASK_YOUR_ADMINISTRATOR: Final = "Your account cannot be used here. Ask your administrator."


def _no_role(username: str) -> NotLetIn:
    return NotLetIn(
        f"{username} is in none of the groups",
        "You are in none of the groups that work here. Ask your administrator to add you to one.",
    )


def _taken(username: str, subject: str) -> NotLetIn:
    return NotLetIn(
        f"there is a user {username} already, who is not linked with the account {subject}",
        f"There is another account here with the name {username}. Your administrator can link it "
        "with yours.",
    )
