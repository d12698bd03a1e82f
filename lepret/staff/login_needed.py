"""What people get who are not logged in, where they must be."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode, urlsplit

from django.contrib.auth import REDIRECT_FIELD_NAME
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, resolve_url
from django.utils.http import url_has_allowed_host_and_scheme
from django_htmx.http import HttpResponseClientRedirect

from lepret.staff.login import NOTHING_RECORDED

_SAFE = ("GET", "HEAD")


def ask_to_log_in(request: HttpRequest) -> HttpResponse:
    """Lead to the login page and from there back."""
    if request.method in _SAFE:
        page = _login_page(request.get_full_path())
        # The login page is no part of the page that asks for a part of itself.
        return (
            HttpResponseClientRedirect(page) if "HX-Request" in request.headers else redirect(page)
        )
    return redirect(_login_page(_page_before(request), **{NOTHING_RECORDED: "1"}))


def _login_page(back_to: str, **query: Any) -> str:
    return f"{resolve_url('login')}?{urlencode({REDIRECT_FIELD_NAME: back_to, **query}, safe='/')}"


def _page_before(request: HttpRequest) -> str:
    """The path of the page from which a request was sent, since one cannot go back to a POST."""
    page = request.headers.get("Referer", "")
    if not url_has_allowed_host_and_scheme(page, {request.get_host()}, request.is_secure()):
        return resolve_url("home-of-role")
    parts = urlsplit(page)
    return parts._replace(scheme="", netloc="", fragment="").geturl() or "/"
