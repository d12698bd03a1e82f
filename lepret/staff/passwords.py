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

from lepret.staff import attempts, logins, sessions
from lepret.staff.attempts import TooManyAttempts
from lepret.staff.credentials import StaffPasswordChangeForm
from lepret.staff.login import locked_out
from lepret.staff.login_needed import ask_to_log_in
from lepret.staff.roles import login_required


@method_decorator(never_cache, name="dispatch")
class StaffPasswordChangeView(PasswordChangeView):
    """Change one's own password. This session goes on, and all others of the user end.

    Whoever has got theirs from somebody else comes here first, and is let in nowhere else.
    """

    form_class = StaffPasswordChangeForm
    template_name = "staff/password.html"
    success_url = reverse_lazy("password-changed")

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        user = sessions.owner_of(request)
        if user is None:
            return ask_to_log_in(request)
        if not user.has_usable_password():
            return render(request, "staff/no_password.html")
        request.user = user
        return super().dispatch(request, *args, **kwargs)

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(**kwargs) | {
            "must_change_password": sessions.must_change_password(self.request)
        }

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        try:
            return super().post(request, *args, **kwargs)
        except TooManyAttempts as refusal:
            return locked_out(request, refusal)

    def form_valid(self, form: PasswordChangeForm) -> HttpResponse:
        response = super().form_valid(form)
        assert isinstance(form.user, User)
        sessions.password_is_their_own(self.request, form.user)
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
