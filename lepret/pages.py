"""Pages that belong to neither side: where to go after login, and errors."""

from __future__ import annotations

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views import defaults
from django.views.decorators.cache import never_cache
from django_htmx.middleware import HtmxDetails

from lepret.problems import not_found as not_found_problem
from lepret.roles import is_back_office, is_underwriter


class HtmxRequest(HttpRequest):
    """A request behind django-htmx's middleware."""

    htmx: HtmxDetails


@never_cache
@login_required
def home_of_role(request: HttpRequest) -> HttpResponse:
    """After login: to the page that the user works on."""
    if is_underwriter(request.user):
        return redirect("readmodels:underwriting")
    if is_back_office(request.user):
        return redirect("admin:index")
    return redirect("loans:apply")


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """404: a page for people, a problem document for machines."""
    if request.path.startswith("/api/"):
        return not_found_problem().response()
    return defaults.page_not_found(request, exception)
