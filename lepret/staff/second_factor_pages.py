"""The pages of the second factor: give it at login, set it up, and remove it."""

from __future__ import annotations

from typing import Any, Final

import django_otp
import segno
from django import forms
from django.contrib.auth import BACKEND_SESSION_KEY
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render, resolve_url
from django.utils.safestring import mark_safe

from lepret.models import AuthenticatorApp
from lepret.staff import attempts, logins, second_factor, second_step
from lepret.staff.credentials import WithCurrentPassword
from lepret.staff.login import page_with_secrets
from lepret.staff.login_needed import ask_to_log_in
from lepret.staff.second_factor import CodeCheck
from lepret.staff.second_step import WaitingSignIn

# The key in a session's data: of the app that is being set up.
_NEW_KEY: Final = "second_factor_key"
_LONGEST_CODE: Final = 20
_PURPOSE: Final = "Change of the second factor"


class _CodeInput(forms.TextInput):
    """Never shows again what was typed: a code is used up by trying it."""

    def format_value(self, value: Any) -> None:
        return None


class CodeForm(forms.Form):
    """Asks for a code, from the app or one of the recovery codes."""

    code = forms.CharField(
        label="Code",
        help_text="The six digits that your app shows now, or one of your recovery codes.",
        max_length=_LONGEST_CODE,
        widget=_CodeInput(attrs={"autocomplete": "one-time-code", "autofocus": True}),
    )

    def __init__(self, request: HttpRequest, user: User) -> None:
        super().__init__(request.POST if request.method == "POST" else None)
        self.request = request
        self.user = user

    def clean_code(self) -> str:
        """Use up the code.

        Raises:
            TooManyAttempts: it was not tried.
        """
        code: str = self.cleaned_data["code"]
        username = self.user.get_username()
        with attempts.counted(attempts.of_session(username, "one-time code")):
            outcome = second_factor.check(self.user, code)
            if outcome is not CodeCheck.ACCEPTED:
                logins.failed(self.request, username, "Second factor")
                raise ValidationError(self._words_for(outcome))
        return code

    def _words_for(self, outcome: CodeCheck) -> str:
        if outcome is CodeCheck.WRONG:
            return "This code is wrong, or was used before. Wait until your app shows the next one."
        wait = second_factor.seconds_to_wait(self.user)
        return f"There were too many wrong codes. Wait {wait} seconds, then give a new one."


class SetUpForm(WithCurrentPassword):
    """Asks for the first code of a new app."""

    purpose = _PURPOSE

    code = forms.CharField(
        label="Code",
        help_text="The six digits that the app shows now.",
        max_length=_LONGEST_CODE,
        widget=_CodeInput(attrs={"autocomplete": "one-time-code", "inputmode": "numeric"}),
    )

    def __init__(self, request: HttpRequest, user: User) -> None:
        super().__init__(request.POST if request.method == "POST" else None)
        self.request = request
        self.user = user
        self.ask_for_password_first()


class ChangeForm(WithCurrentPassword, CodeForm):
    """Asks for password and code before the second factor is changed."""

    purpose = _PURPOSE

    def __init__(self, request: HttpRequest, user: User) -> None:
        super().__init__(request, user)
        del self.fields["code"].widget.attrs["autofocus"]
        self.ask_for_password_first()

    def clean_code(self) -> str:
        # A code is used up by trying it: first the password must be right.
        return "" if self.errors else super().clean_code()


@page_with_secrets
def ask_for_code(request: HttpRequest) -> HttpResponse:
    """The second step of a login."""
    waiting = WaitingSignIn.of(request)
    app = second_factor.app_of(waiting.user) if waiting else None
    if waiting is None or app is None:
        return redirect("login")
    form = CodeForm(request, waiting.user)
    if form.is_valid():
        return second_step.complete(request, waiting, app)
    return render(request, "staff/second_step.html", {"form": form})


@page_with_secrets
def second_factor_page(request: HttpRequest) -> HttpResponse:
    """Where members of staff set up their second factor, and change it."""
    if request.user.is_authenticated:
        has_one = second_factor.app_of(request.user) is not None
        return (_change if has_one else _set_up)(request, request.user)
    waiting = WaitingSignIn.of(request)
    if waiting is None:
        return ask_to_log_in(request)
    if second_factor.app_of(waiting.user):
        return redirect("second-factor-code")
    return _set_up(request, waiting.user, waiting)


def _set_up(request: HttpRequest, user: User, waiting: WaitingSignIn | None = None) -> HttpResponse:
    key = request.session.setdefault(_NEW_KEY, second_factor.new_key())
    form = SetUpForm(request, user)
    if form.is_valid():
        try:
            app = second_factor.set_up(user, key, form.cleaned_data["code"])
        except second_factor.AlreadySetUp:
            return redirect("second-factor")
        if app is not None:
            return _now_set_up(request, app, waiting)
        form.add_error("code", "This is not the code that the app should show now.")
    app = AuthenticatorApp(user=user, key=key)
    context = {
        "form": form,
        "qr_code": _qr_code(app),
        "secret": _in_groups(app.base32_key),
        "is_required": second_factor.is_required(),
    }
    return render(request, "staff/second_factor_set_up.html", context)


def _qr_code(app: AuthenticatorApp) -> str:
    svg = segno.make(app.config_url, error="m").svg_inline(
        scale=5, light="white", svgclass=None, lineclass=None
    )
    return mark_safe(svg)  # noqa: S308 (it holds nothing but numbers)


def _in_groups(secret: str) -> str:
    return " ".join(secret[at : at + 4] for at in range(0, len(secret), 4))


def _now_set_up(
    request: HttpRequest, app: AuthenticatorApp, waiting: WaitingSignIn | None
) -> HttpResponse:
    logins.noted(request, app.user, "Second factor set up")
    if waiting is not None:
        second_step.complete(request, waiting, app)
    else:
        del request.session[_NEW_KEY]
        request.session[django_otp.DEVICE_ID_SESSION_KEY] = app.persistent_id
        request.session.cycle_key()
    next_url = waiting.next_url if waiting else resolve_url("home-of-role")
    return _show_recovery_codes(request, app.user, next_url)


def _show_recovery_codes(request: HttpRequest, user: User, next_url: str) -> HttpResponse:
    codes = second_factor.renew_recovery_codes(user)
    context = {"codes": codes, "next_url": next_url}
    return render(request, "staff/recovery_codes.html", context)


def _change(request: HttpRequest, user: User) -> HttpResponse:
    form = ChangeForm(request, user)
    if form.is_valid():
        if "remove" in request.POST:
            return _remove(request, user)
        logins.noted(request, user, "Recovery codes renewed")
        return _show_recovery_codes(request, user, resolve_url("second-factor"))
    context = {
        "form": form,
        "app": second_factor.app_of(user),
        "codes_left": second_factor.recovery_codes_left(user),
        "is_required": second_factor.is_required(),
    }
    return render(request, "staff/second_factor.html", context)


def _remove(request: HttpRequest, user: User) -> HttpResponse:
    user.backend = request.session[BACKEND_SESSION_KEY]
    second_factor.remove(user)
    logins.noted(request, user, "Second factor removed")
    if second_factor.is_asked_of(user, user.backend):
        return second_step.wait_for_second_step(request, user, resolve_url("home-of-role"))
    return redirect("second-factor")
