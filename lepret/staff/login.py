"""Logging in and out, at one view for the pages and for admin."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from http import HTTPStatus
from typing import Any

from django.contrib.auth.forms import AuthenticationForm
from django.contrib.auth.models import User
from django.contrib.auth.views import LoginView, LogoutView
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect, render, resolve_url
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods

from lepret.staff import second_step, sessions
from lepret.staff.attempts import TooManyAttempts
from lepret.staff.credentials import StaffLoginForm
from lepret.staff.sessions import SessionEnd

# Of a page that was sent again after its session had ended (see `lepret.staff.login_needed`).
NOTHING_RECORDED = "nothing_recorded"

View = Callable[[HttpRequest], HttpResponse]


class StaffLoginView(LoginView):
    """The login page; with `for_admin`, the one to which admin redirects."""

    form_class = StaffLoginForm
    for_admin = False

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if self._may_go_on(request.user):
            return HttpResponseRedirect(self.get_success_url())
        if sessions.end_of(request) is SessionEnd.INITIAL_PASSWORD:
            return redirect("password")
        return super().get(request, *args, **kwargs)

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        try:
            return super().post(request, *args, **kwargs)
        except TooManyAttempts as refusal:
            return locked_out(request, refusal)

    def form_valid(self, form: AuthenticationForm) -> HttpResponse:
        user = form.get_user()
        assert isinstance(user, User)
        if not self._may_go_on(user):
            form.add_error(None, "This account may not see the back office.")
            return self.form_invalid(form)
        return second_step.sign_in(self.request, user, self.get_success_url())

    def get_default_redirect_url(self) -> str:
        return resolve_url("admin:index") if self.for_admin else super().get_default_redirect_url()

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(**kwargs) | {
            "ended_because": sessions.end_of(self.request),
            "nothing_recorded": NOTHING_RECORDED in self.request.GET,
        }

    def _may_go_on(self, user: Any) -> bool:
        # Whom admin has sent here although they are logged in, it would send here again.
        return bool(user.is_active and (user.is_staff or not self.for_admin))


class StaffLogoutView(LogoutView):
    """Logs out, and has the browser forget the pages that it keeps."""

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        response = super().post(request, *args, **kwargs)
        # Not "cookies": this browser stays known to `lepret.staff.devices`.
        response["Clear-Site-Data"] = '"cache"'
        return response


def locked_out(request: HttpRequest, refusal: TooManyAttempts) -> HttpResponse:
    """The answer to an attempt that was not made because there were too many."""
    minutes = -(-refusal.seconds // 60)
    status = HTTPStatus.TOO_MANY_REQUESTS
    response = render(request, "staff/locked_out.html", {"minutes": minutes}, status=status)
    response["Retry-After"] = str(refusal.seconds)
    return response


def page_with_secrets(view: View) -> View:
    """What all pages have in common on which a code or a password is tried."""

    @never_cache
    @sensitive_post_parameters("password", "code")
    @require_http_methods(["GET", "HEAD", "POST"])
    @wraps(view)
    def guarded(request: HttpRequest) -> HttpResponse:
        try:
            return view(request)
        except TooManyAttempts as refusal:
            return locked_out(request, refusal)

    return guarded
