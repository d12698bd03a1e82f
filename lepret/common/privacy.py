"""The page that tells applicants what happens with their data."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe


@require_safe
def privacy(request: HttpRequest) -> HttpResponse:
    """The text of the setting or, without one, what the software does."""
    return render(request, "privacy.html", {"notice": settings.PRIVACY_NOTICE})
