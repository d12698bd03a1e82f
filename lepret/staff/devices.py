"""Recognises the browsers in which somebody has logged in before, by a signed cookie.

A lockout that strangers cause does not hold for them (OWASP, *Slow Down Online Guessing Attacks
with Device Cookies*). The cookie lets nobody in.
"""

from __future__ import annotations

import secrets
from datetime import timedelta
from typing import Final

from django.conf import settings
from django.core.signing import BadSignature, TimestampSigner
from django.http import HttpRequest, HttpResponse

from lepret.staff.attempts import hashed

_LASTS: Final = timedelta(days=180)


def device_of(request: HttpRequest, username: str) -> str | None:
    """The random name of the browser, if `username` has logged in with it before."""
    try:
        value = _signer().unsign(request.COOKIES.get(_cookie_name(), ""), max_age=_LASTS)
    except BadSignature:
        return None
    account, _, device = value.partition(":")
    return device if account == hashed("account", username) else None


def remember(response: HttpResponse, username: str) -> None:
    """Have the browser known as one in which `username` has logged in."""
    value = f"{hashed('account', username)}:{secrets.token_hex(16)}"
    response.set_cookie(
        _cookie_name(),
        _signer().sign(value),
        max_age=_LASTS,
        secure=settings.SESSION_COOKIE_SECURE,
        httponly=True,
        samesite="Lax",
    )


def _signer() -> TimestampSigner:
    return TimestampSigner(salt="lepret.staff.devices")


def _cookie_name() -> str:
    return f"{settings.COOKIE_PREFIX}device"
