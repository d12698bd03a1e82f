"""Logging in, at one view for the pages and for admin."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.forms import AuthenticationForm
from django.contrib.auth.models import User
from django.contrib.auth.views import LoginView
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import resolve_url

from lepret.staff import sessions


class StaffLoginForm(AuthenticationForm):
    """User name and password, and whether they may log in here."""

    def __init__(self, *args: Any, for_admin: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._for_admin = for_admin

    def confirm_login_allowed(self, user: Any) -> None:
        super().confirm_login_allowed(user)
        if self._for_admin and not user.is_staff:
            raise ValidationError(
                "Your account may not see the back office. Log in at the staff login instead.",
                code="not_staff",
            )


class StaffLoginView(LoginView):
    """The login page; with `for_admin`, the one to which admin redirects."""

    form_class = StaffLoginForm
    for_admin = False

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if self._is_in(request.user):
            return HttpResponseRedirect(self.get_success_url())
        return super().get(request, *args, **kwargs)

    def _is_in(self, user: Any) -> bool:
        # Only admin redirects people who are logged in to its login page: those may not see it.
        return bool(user.is_active and (user.is_staff or not self.for_admin))

    def get_form_kwargs(self) -> dict[str, Any]:
        return super().get_form_kwargs() | {"for_admin": self.for_admin}

    def get_default_redirect_url(self) -> str:
        return resolve_url("admin:index") if self.for_admin else super().get_default_redirect_url()

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(**kwargs) | {"ended_because": sessions.end_of(self.request)}

    def form_valid(self, form: AuthenticationForm) -> HttpResponse:
        user = form.get_user()
        assert isinstance(user, User)
        sessions.log_in(self.request, user)
        return HttpResponseRedirect(self.get_success_url())
