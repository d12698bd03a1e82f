"""Where members of staff go after login."""

from __future__ import annotations

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.cache import never_cache

from lepret.staff.roles import is_back_office, is_underwriter


@never_cache
@login_required
def home_of_role(request: HttpRequest) -> HttpResponse:
    """Redirect to the page that this user works on."""
    if is_underwriter(request.user):
        return redirect("readmodels:underwriting")
    if is_back_office(request.user):
        return redirect("admin:index")
    return redirect("loans:apply")
