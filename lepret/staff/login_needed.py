"""What people get who are not logged in, where they must be."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode, urlsplit

from django.contrib.auth import REDIRECT_FIELD_NAME
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render, resolve_url
from django.utils.http import url_has_allowed_host_and_scheme
from django_htmx.http import reswap, retarget, trigger_client_event

from lepret.staff import sessions
from lepret.staff.login import NOTHING_RECORDED

_SAFE = ("GET", "HEAD")


def ask_to_log_in(request: HttpRequest) -> HttpResponse:
    """Lead to the login page and from there back, or say it on the page, if htmx asks."""
    if request.headers.get("HX-Request") == "true":
        return _say_it_on_the_page(request)
    if request.method in _SAFE:
        return redirect(_login_page(request.get_full_path()))
    return redirect(_login_page(_page_before(request), **{NOTHING_RECORDED: "1"}))


def _say_it_on_the_page(request: HttpRequest) -> HttpResponse:
    context = {
        "ended_because": sessions.end_of(request),
        "is_command": request.method not in _SAFE,
        "login_page": _login_page(_page_before(request)),
    }
    response = render(request, "staff/_logged_out.html", context, status=403)
    trigger_client_event(response, "decision")  # It closes the dialog.
    return reswap(retarget(response, "#notices"), "innerHTML")


def _login_page(back_to: str, **query: Any) -> str:
    return f"{resolve_url('login')}?{urlencode({REDIRECT_FIELD_NAME: back_to, **query}, safe='/')}"


def _page_before(request: HttpRequest) -> str:
    """The path of the page from which a request was sent, since one cannot go back to a POST."""
    page = request.headers.get("HX-Current-URL") or request.headers.get("Referer", "")
    if not url_has_allowed_host_and_scheme(page, {request.get_host()}, request.is_secure()):
        return resolve_url("home-of-role")
    parts = urlsplit(page)
    return parts._replace(scheme="", netloc="", fragment="").geturl() or "/"
