"""The second step of signing in: who is authenticated, but still needs the second factor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from django.conf import settings
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect
from django.utils.crypto import constant_time_compare

from lepret.common.database_clock import database_time
from lepret.models import AuthenticatorApp
from lepret.staff import devices, second_factor, sessions

# The key in a session's data.
_WAITING: Final = "waiting_sign_in"


@dataclass(frozen=True)
class WaitingSignIn:
    """Somebody who is not logged in yet: the password was right, the second factor is missing."""

    user: User
    next_url: str

    @classmethod
    def of(cls, request: HttpRequest) -> WaitingSignIn | None:
        """The one in this session; `None` if there is none, or if it took too long."""
        kept = request.session.get(_WAITING)
        if (
            kept is None
            or database_time().timestamp() >= kept["since"] + settings.SECOND_STEP_SECONDS
        ):
            return None
        if kept["backend"] not in settings.AUTHENTICATION_BACKENDS:
            return None
        user = User.objects.filter(pk=kept["user"], is_active=True).first()
        if user is None or not constant_time_compare(user.get_session_auth_hash(), kept["hash"]):
            return None
        user.backend = kept["backend"]  # as `authenticate` does
        return cls(user, kept["next"])


def sign_in(request: HttpRequest, user: User, next_url: str) -> HttpResponse:
    """Log in somebody whom a backend has authenticated, or ask for the second factor first."""
    if second_factor.is_asked_of(user, user.backend):
        return wait_for_second_step(request, user, next_url)
    return _log_in(request, user, next_url)


def wait_for_second_step(request: HttpRequest, user: User, next_url: str) -> HttpResponse:
    """Log in nobody yet; lead to the page that asks for the second factor, or has it set up."""
    # Another session, so that nobody who knows the key of this one can set up a second factor.
    request.session.flush()
    request.session[_WAITING] = {
        "user": user.pk,
        "backend": user.backend,
        "hash": user.get_session_auth_hash(),
        "since": database_time().timestamp(),
        "next": next_url,
    }
    request.session.set_expiry(settings.SECOND_STEP_SECONDS)
    return redirect("second-factor-code" if second_factor.app_of(user) else "second-factor")


def complete(request: HttpRequest, waiting: WaitingSignIn, app: AuthenticatorApp) -> HttpResponse:
    """Log in somebody who has given the second factor, too."""
    waiting.user.otp_device = app  # type: ignore[attr-defined]  # django-otp notes it in the session
    return _log_in(request, waiting.user, waiting.next_url)


def _log_in(request: HttpRequest, user: User, next_url: str) -> HttpResponse:
    sessions.log_in(request, user)
    response = HttpResponseRedirect(next_url)
    devices.remember(response, user.get_username())
    return response
