"""Who may see the pages of a role now, and why somebody may not: for pages and websockets.

Whom of the staff a page, admin or a websocket is refused for want of a role, is logged.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any, Final, TypeVar, cast

from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import render
from django.utils.cache import add_never_cache_headers
from django.views import defaults
from django_htmx.http import reswap, retarget

from lepret.common.callers import address_of
from lepret.common.database_clock import database_time
from lepret.common.htmx import HtmxRequest
from lepret.staff.login_needed import ask_to_log_in
from lepret.staff.roles import is_underwriter, makes_policy, may_read_policy
from lepret.staff.sessions import Lifetimes, SessionEnd, end_of, whose

logger = logging.getLogger(__name__)

SAFE_METHODS: Final = ("GET", "HEAD")

View = TypeVar("View", bound=Callable[..., HttpResponseBase])


@dataclass(frozen=True)
class Refusal:
    """Why an underwriters' page is not shown: the close code of its websocket, and a sentence."""

    close_code: int
    words: str
    is_session_over: bool = True


NOT_UNDERWRITER: Final = Refusal(
    4403, "Your account may not decide on loan requests.", is_session_over=False
)
SOMEBODY_ELSE: Final = Refusal(4410, "Somebody else has logged in in this browser.")
ENDED: Final = {
    end: Refusal(close_code, f"You were logged out because {end}")
    for end, close_code in {
        SessionEnd.LOGGED_OUT: 4401,
        SessionEnd.PASSWORD: 4411,
        SessionEnd.EXPIRED: 4412,
        SessionEnd.IDLE: 4413,
        SessionEnd.INACTIVE: 4414,
        SessionEnd.SECOND_FACTOR: 4415,
        SessionEnd.INITIAL_PASSWORD: 4416,
    }.items()
}
REFUSALS: Final = (*ENDED.values(), NOT_UNDERWRITER, SOMEBODY_ELSE)


def refusal_to_session(
    session_key: str | None, *, shown_to: str | None = None, asked_from: str | None = None
) -> Refusal | None:
    """Why a page may not be shown (any more) in this session; `None` if it may.

    Session and user are read anew, and this does not count as activity. `shown_to` is the primary
    key of the user whom an open page was shown to. `asked_from` is the address of somebody who asks
    to open it, whose refusal is logged.
    """
    found = whose(session_key, now=database_time().timestamp(), lifetimes=Lifetimes.from_settings())
    refusal = _refusal_to(found)
    if refusal is NOT_UNDERWRITER and asked_from is not None:
        _log_refusal(cast(User, found), asked_from, "a websocket of underwriters")
    if refusal is None and shown_to not in (None, str(cast(User, found).pk)):
        return SOMEBODY_ELSE
    return refusal


def refusal_to_request(request: HttpRequest) -> Refusal | None:
    """Why a page may not be shown in answer to this request; `None` if it may."""
    if request.user.is_authenticated:
        return _refusal_to(request.user)
    return _refusal_to(end_of(request) or SessionEnd.LOGGED_OUT)


def _refusal_to(found: User | SessionEnd) -> Refusal | None:
    if isinstance(found, SessionEnd):
        return ENDED[found]
    return None if is_underwriter(found) else NOT_UNDERWRITER


def underwriter_required(view: View) -> View:
    """Let underwriters in. Others are sent to the login page, or answered with 403.

    An open page is told why, and shows that instead of the names that it showed before.
    """

    @wraps(view)
    def guarded(request: HtmxRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        refusal = refusal_to_request(request)
        return view(request, *args, **kwargs) if refusal is None else refused(request, refusal)

    return cast(View, guarded)


def policy_maker_required(view: View) -> View:
    """Let policy makers in. Others are sent to the login page, or answered with 403."""
    return _for_those(makes_policy, view, words="Your account may not change the lending policy.")


def policy_reader_required(view: View) -> View:
    """Let those in who may look at the lending policy; others as `policy_maker_required`."""
    return _for_those(may_read_policy, view, words="Your account may not see the lending policy.")


def _for_those(may: Callable[[User], bool], view: View, *, words: str) -> View:
    @wraps(view)
    def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if not request.user.is_authenticated:
            return ask_to_log_in(request)
        if not may(request.user):
            raise PermissionDenied(words)
        return view(request, *args, **kwargs)

    return cast(View, guarded)


def refused(request: HtmxRequest, refusal: Refusal) -> HttpResponse:
    """The answer to a request that is refused for this reason.

    Raises:
        PermissionDenied: a page is asked for by somebody who is logged in, but is no underwriter.
    """
    if request.htmx:
        if refusal is NOT_UNDERWRITER:
            _log_refused_request(request)
        context = {"refusal": refusal, "is_command": request.method not in SAFE_METHODS}
        answer = render(request, "_ended.html", context, status=403)
        add_never_cache_headers(answer)
        return reswap(retarget(answer, "#main"), "innerHTML")
    if refusal is NOT_UNDERWRITER:
        raise PermissionDenied(refusal.words)
    return ask_to_log_in(request)


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponseBase:
    """The page for those who are logged in, but may not see this one."""
    if request.user.is_authenticated:
        _log_refused_request(request)
    return defaults.permission_denied(request, exception)


class AdminRefusals:
    """Middleware that logs who is logged in and not let into admin, which asks them to log in."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        return self._get_response(request)

    def process_view(self, request: HttpRequest, *_: Any) -> None:
        is_admin = request.resolver_match is not None and request.resolver_match.app_name == "admin"
        if is_admin and request.user.is_authenticated and not request.user.is_staff:
            _log_refused_request(request)


def _log_refused_request(request: HttpRequest) -> None:
    # Not the path, which may hold what somebody has searched for.
    route = request.resolver_match.route if request.resolver_match else "an unknown page"
    _log_refusal(cast(User, request.user), address_of(request), f"{request.method} /{route}")


def _log_refusal(user: User, address: str, what: str) -> None:
    logger.warning(
        "Refused for want of a role: %s, from %s, %s", ascii(user.get_username()), address, what
    )
