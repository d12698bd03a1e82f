"""The log of logins: who logged in, failed to, was locked out, changed a password, and from where.

It names members of staff, which no other log does, and never what was typed: a password is easily
typed where the user name belongs.
"""

from __future__ import annotations

import logging
from typing import Any

from django.contrib.auth.models import User
from django.contrib.auth.signals import user_logged_in, user_logged_out, user_login_failed
from django.dispatch import receiver
from django.http import HttpRequest

from lepret.common.callers import address_of

logger = logging.getLogger(__name__)


def locked_out(request: HttpRequest, username: str) -> None:
    """A limit of failed attempts is reached."""
    logger.warning("Locked out: %s, from %s", _known(username), address_of(request))


def failed(request: HttpRequest | None, username: str, what: str = "Login") -> None:
    """A password was wrong."""
    logger.warning("%s failed: %s, from %s", what, _known(username), _address(request))


def password_changed(request: HttpRequest, user: User, by: User) -> None:
    """Somebody's password was changed: by themselves, or by an administrator."""
    logger.info(
        "Password of %s changed by %s, from %s",
        _shown(user.get_username()),
        _shown(by.get_username()),
        address_of(request),
    )


def sessions_ended(request: HttpRequest, user: User, by: User, count: int) -> None:
    """Somebody's sessions were ended: by themselves, or by an administrator."""
    logger.info(
        "%d sessions of %s ended by %s, from %s",
        count,
        _shown(user.get_username()),
        _shown(by.get_username()),
        address_of(request),
    )


def noted(request: HttpRequest, user: User, what: str) -> None:
    """Something was changed that logins depend on."""
    logger.info("%s: %s, from %s", what, _shown(user.get_username()), address_of(request))


def provider_failed(request: HttpRequest, why: str) -> None:
    """Somebody was not let in who came from the identity provider."""
    logger.warning("Sign-in by the identity provider failed: %s, from %s", why, address_of(request))


@receiver(user_logged_in)
def _logged_in(request: HttpRequest, user: User, **kwargs: Any) -> None:
    logger.info("Logged in: %s, from %s", _shown(user.get_username()), _address(request))


@receiver(user_logged_out)
def _logged_out(request: HttpRequest, user: User | None, **kwargs: Any) -> None:
    if user is not None:
        logger.info("Logged out: %s, from %s", _shown(user.get_username()), _address(request))


@receiver(user_login_failed)
def _failed(credentials: dict[str, Any], request: HttpRequest | None, **kwargs: Any) -> None:
    failed(request, str(credentials.get("username", "")))


def _address(request: HttpRequest | None) -> str:
    return "unknown" if request is None else address_of(request)


def _known(username: str) -> str:
    exists = User.objects.filter(username=username).exists()
    return _shown(username) if exists else "an unknown user"


def _shown(username: str) -> str:
    """The name, with quotes and without anything that could look like a line of its own."""
    return ascii(username)
