"""The groups that staff belong to, and who may do what because of them.

The groups are made by migrations of `lepret`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

from django.contrib.auth.models import AnonymousUser, User
from django.db.models import Q, prefetch_related_objects
from django.http import HttpRequest, HttpResponseBase
from django.utils.functional import SimpleLazyObject

from lepret.staff.login_needed import ask_to_log_in

UNDERWRITERS = "Underwriters"
LEADS = "Lead underwriters"
BACK_OFFICE = "Back office"
POLICY_MAKERS = "Policy"
IN_ADMIN = frozenset({BACK_OFFICE, POLICY_MAKERS})
"""Those whose pages are in admin, which asks for `is_staff` besides."""

View = TypeVar("View", bound=Callable[..., HttpResponseBase])


def is_underwriter(user: User | AnonymousUser) -> bool:
    """Whether `user` decides on loan requests: an active member of the group, or a superuser."""
    return _has_role(user, UNDERWRITERS)


def is_lead(user: User | AnonymousUser) -> bool:
    """Whether `user` is an underwriter to whom others leave requests, or a superuser."""
    return is_underwriter(user) and _has_role(user, LEADS)


def underwriters() -> list[User]:
    """All who decide on loan requests, by their usernames, with their groups."""
    may_decide = Q(groups__name=UNDERWRITERS) | Q(is_superuser=True)
    users = User.objects.filter(may_decide, is_active=True).distinct()
    return list(users.order_by("username").prefetch_related("groups"))


def is_back_office(user: User | AnonymousUser) -> bool:
    """Whether `user` may look at everything in admin: active staff in the group, or a superuser."""
    return user.is_staff and _has_role(user, BACK_OFFICE)


def makes_policy(user: User | AnonymousUser) -> bool:
    """Whether `user` proposes and confirms lending policies: an active member, or a superuser."""
    return _has_role(user, POLICY_MAKERS)


def may_read_policy(user: User | AnonymousUser) -> bool:
    """Whether `user` may look at all versions of the lending policy."""
    return makes_policy(user) or is_back_office(user)


def _has_role(user: User | AnonymousUser, group: str) -> bool:
    if not user.is_active:
        return False
    if user.is_superuser:
        return True
    # Admin asks many times in a request: the groups are read once, and kept on the user object.
    prefetch_related_objects([user], "groups")
    return any(each.name == group for each in user.groups.all())


def login_required(view: View) -> View:
    """Let those in who are logged in, and lead others to the login page and back."""

    @wraps(view)
    def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if not request.user.is_authenticated:
            return ask_to_log_in(request)
        return view(request, *args, **kwargs)

    return cast(View, guarded)


def roles(request: HttpRequest) -> dict[str, Any]:
    """For templates: what to show. Lazy, so that a page without them queries nothing."""
    return {
        "is_underwriter": SimpleLazyObject(lambda: is_underwriter(request.user)),
        "is_lead": SimpleLazyObject(lambda: is_lead(request.user)),
        "is_back_office": SimpleLazyObject(lambda: is_back_office(request.user)),
        "makes_policy": SimpleLazyObject(lambda: makes_policy(request.user)),
    }
