"""The page on which members of staff change their own password."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.forms import PasswordChangeForm
from django.contrib.auth.models import User
from django.contrib.auth.views import PasswordChangeView
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.urls import reverse_lazy
from django.utils.decorators import method_decorator
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from lepret.staff import attempts, logins
from lepret.staff.attempts import TooManyAttempts
from lepret.staff.credentials import StaffPasswordChangeForm
from lepret.staff.login import locked_out
from lepret.staff.roles import login_required


@method_decorator((never_cache, login_required), name="dispatch")
class StaffPasswordChangeView(PasswordChangeView):
    """Change one's own password. This session goes on, and all others of the user end."""

    form_class = StaffPasswordChangeForm
    template_name = "staff/password.html"
    success_url = reverse_lazy("password-changed")

    def dispatch(self, *args: Any, **kwargs: Any) -> HttpResponseBase:
        user = self.request.user
        assert isinstance(user, User), "login_required has let nobody else in"
        if not user.has_usable_password():
            return render(self.request, "staff/no_password.html")
        return super().dispatch(*args, **kwargs)

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        try:
            return super().post(request, *args, **kwargs)
        except TooManyAttempts as refusal:
            return locked_out(request, refusal)

    def form_valid(self, form: PasswordChangeForm) -> HttpResponse:
        response = super().form_valid(form)
        assert isinstance(form.user, User)
        logins.password_changed(self.request, form.user, by=form.user)
        return response

    def form_invalid(self, form: PasswordChangeForm) -> HttpResponse:
        if form.has_error("old_password", "password_incorrect"):
            username = form.user.get_username()
            logins.failed(self.request, username, "Password change")
            if attempts.is_at_limit(attempts.of_password_change(username)):
                logins.locked_out(self.request, username)
        return super().form_invalid(form)


@never_cache
@login_required
@require_safe
def password_changed(request: HttpRequest) -> HttpResponse:
    """Where a changed password leads."""
    return render(request, "staff/password_changed.html")
