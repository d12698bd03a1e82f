"""Where members of staff go after login, and from where they change what they log in with."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from lepret.staff.roles import is_back_office, is_underwriter, login_required, makes_policy


@never_cache
@login_required
def home_of_role(request: HttpRequest) -> HttpResponse:
    """Redirect to the page that this user works on; say so to those who have none yet."""
    if request.user.is_superuser and request.user.is_staff:
        return redirect("admin:index")
    if is_underwriter(request.user):
        return redirect("readmodels:underwriting")
    if is_back_office(request.user):
        return redirect("admin:index")
    if makes_policy(request.user):
        return redirect("loans:policy")
    return render(request, "staff/no_role.html")


@never_cache
@login_required
@require_safe
def account(request: HttpRequest) -> HttpResponse:
    """Leads to password, second factor and sessions."""
    return render(request, "staff/account.html")
