"""Refuses calls of the API over plain HTTP, where pages are redirected to HTTPS."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Final

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from lepret.api.problems import Problem
from lepret.common.api_calls import is_call

_REFUSAL: Final = (
    "Call this API over HTTPS. What was sent could be read on its way: a token that was in it must "
    "be revoked."
)


def https_only(
    get_response: Callable[[HttpRequest], HttpResponseBase],
) -> Callable[[HttpRequest], HttpResponseBase]:
    """Middleware that answers 403 to calls over plain HTTP.

    A redirect would hide from the caller that data and token went out unprotected (OWASP ASVS 5.0,
    4.1.2). Django's SecurityMiddleware must let them through: see SECURE_REDIRECT_EXEMPT.
    """

    def middleware(request: HttpRequest) -> HttpResponseBase:
        is_secure = request.is_secure() or not settings.SECURE_SSL_REDIRECT
        if is_call(request.path) and not is_secure:
            return _refused()
        return get_response(request)

    return middleware


def _refused() -> HttpResponse:
    return Problem(HTTPStatus.FORBIDDEN, _REFUSAL).response()
