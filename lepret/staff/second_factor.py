"""The second factor of members of staff: codes from an app (TOTP, RFC 6238), and recovery codes.

A session that needs a second factor and lacks it is nobody's: `is_missing` is asked wherever a
session's user is.
"""

from __future__ import annotations

import secrets
from base64 import b32encode
from datetime import datetime
from enum import Enum
from typing import Final

import django_otp
from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY
from django.contrib.auth.models import User
from django.contrib.sessions.backends.base import SessionBase
from django.db import transaction
from django.utils import timezone
from django_otp.plugins.otp_static.models import StaticDevice, StaticToken

from lepret.common.keyed_hashes import keyed_hash
from lepret.models import AuthenticatorApp

RECOVERY_CODES: Final = 10
# Ten letters and digits, of which none looks like another: 50 random bits.
_BYTES_IN_RECOVERY_CODE: Final = 7
_LETTERS_IN_RECOVERY_CODE: Final = 10
_DIGITS_IN_CODE: Final = 6
_BYTES_IN_KEY: Final = 20  # RFC 4226, section 4, recommends 160 bits.


class CodeCheck(Enum):
    """What became of a code."""

    ACCEPTED = "accepted"
    WRONG = "wrong"
    TOO_SOON = "too soon"
    """Not looked at: after each wrong code, the wait for the next one doubles."""


class AlreadySetUp(Exception):
    """The user has a second factor, which must be removed before there can be another."""


def is_missing(user: User, session: SessionBase) -> bool:
    """Whether a session must not be used by `user`, for want of the second factor."""
    if not _is_asked_after(session.get(BACKEND_SESSION_KEY, "")):
        return False
    app = app_of(user)
    if app is None:
        return is_required()
    return bool(session.get(django_otp.DEVICE_ID_SESSION_KEY) != app.persistent_id)


def is_asked_of(user: User, backend: str) -> bool:
    """Whether `user` must do something more after having signed in by this backend."""
    return _is_asked_after(backend) and (is_required() or app_of(user) is not None)


def is_required() -> bool:
    """Whether everybody must have a second factor."""
    return bool(settings.STAFF_SECOND_FACTOR == "required")


def _is_asked_after(backend: str) -> bool:
    # The identity provider demands what it thinks fit, unless the operator wants ours as well.
    return backend != settings.OIDC_BACKEND or bool(settings.OIDC_SECOND_FACTOR)


def app_of(user: User) -> AuthenticatorApp | None:
    """The app that makes this user's codes."""
    app: AuthenticatorApp | None = AuthenticatorApp.objects.filter(
        user=user, confirmed=True
    ).first()
    return app


def new_key() -> str:
    """A key for an app that is to be set up: 20 random bytes in hex."""
    return secrets.token_hex(_BYTES_IN_KEY)


def set_up(user: User, key: str, code: str) -> AuthenticatorApp | None:
    """Make an app the user's second factor; `None` if `code` does not come from it.

    Raises:
        AlreadySetUp: the user has a second factor.
    """
    with transaction.atomic():
        User.objects.select_for_update().get(pk=user.pk)  # Nobody can set up two at once.
        if app_of(user) is not None:
            raise AlreadySetUp
        app: AuthenticatorApp = AuthenticatorApp.objects.create(user=user, name="app", key=key)
        code = _without_spaces(code)
        if not (_is_from_app(code) and app.verify_token(code)):
            transaction.set_rollback(True)
            return None
    return app


def remove(user: User) -> bool:
    """Remove the user's second factor; returns whether there was one."""
    with transaction.atomic():
        StaticDevice.objects.filter(user=user).delete()
        apps, _ = AuthenticatorApp.objects.filter(user=user).delete()
    return bool(apps)


def check(user: User, code: str) -> CodeCheck:
    """Check a code from the user's app, or a recovery code; each is accepted once."""
    code = _without_spaces(code).lower()
    if _is_from_app(code):
        return _check(user, app_of(user), code)
    return _check(user, _recovery_codes_of(user), _hash_of(user, code))


def _without_spaces(code: str) -> str:
    return "".join(character for character in code if character.isalnum())


def _is_from_app(code: str) -> bool:
    return len(code) == _DIGITS_IN_CODE and code.isascii() and code.isdigit()


def _check(user: User, device: AuthenticatorApp | StaticDevice | None, token: str) -> CodeCheck:
    if device is None:
        return CodeCheck.WRONG
    if not device.verify_is_allowed()[0]:
        return CodeCheck.TOO_SOON
    is_right = django_otp.verify_token(user, device.persistent_id, token) is not None
    return CodeCheck.ACCEPTED if is_right else CodeCheck.WRONG


def forgive(user: User) -> None:
    """Forget all wrong codes, so that the next one is looked at at once."""
    for model in (AuthenticatorApp, StaticDevice):
        model.objects.filter(user=user).update(throttling_failure_count=0)


def seconds_to_wait(user: User) -> int:
    """Until the next code is looked at."""
    waits = [
        (until - timezone.now()).total_seconds()
        for device in (app_of(user), _recovery_codes_of(user))
        if device is not None and (until := _locked_until(device)) is not None
    ]
    return max(1, round(max(waits, default=1)))


def _locked_until(device: AuthenticatorApp | StaticDevice) -> datetime | None:
    _, why = device.verify_is_allowed()
    until: datetime | None = None if why is None else why["locked_until"]
    return until


def renew_recovery_codes(user: User) -> list[str]:
    """Make new recovery codes in place of the old ones. Only hashes of them are kept."""
    codes = [_new_recovery_code() for _ in range(RECOVERY_CODES)]
    with transaction.atomic():
        StaticDevice.objects.filter(user=user).delete()
        device = StaticDevice.objects.create(user=user, name="recovery codes")
        StaticToken.objects.bulk_create(
            StaticToken(device=device, token=_hash_of(user, code)) for code in codes
        )
    return [f"{code[:5]}-{code[5:]}" for code in codes]


def recovery_codes_left(user: User) -> int:
    """How many recovery codes the user has not used yet."""
    left: int = StaticToken.objects.filter(device__user=user).count()
    return left


def _recovery_codes_of(user: User) -> StaticDevice | None:
    return StaticDevice.objects.filter(user=user).first()


def _new_recovery_code() -> str:
    letters = b32encode(secrets.token_bytes(_BYTES_IN_RECOVERY_CODE)).decode().lower()
    return letters[:_LETTERS_IN_RECOVERY_CODE]


def _hash_of(user: User, recovery_code: str) -> str:
    # As long as the column: 64 bits of the hash.
    return keyed_hash(settings.HMAC_KEY, "recovery code", str(user.pk), recovery_code).hex()[:16]
