"""The answer to a request that failed here: 503 if a database is away, otherwise 500.

Django asks for it whatever has failed: a view, middleware, a template, or another error's page.
"""

from __future__ import annotations

import sys
from typing import Final

from django.http import HttpRequest, HttpResponse
from django.template import loader
from django.views import defaults

from lepret.api.problems import database_away
from lepret.common.api_calls import is_call
from lepret.common.databases import is_away

_SAFE_METHODS: Final = ("GET", "HEAD", "OPTIONS")


def server_error(request: HttpRequest) -> HttpResponse:
    """A problem document under `/api/`, otherwise a page; called while the error is handled."""
    error = sys.exception()
    if error is None or not is_away(error):
        return defaults.server_error(request)
    problem = database_away(error).response()
    # It is logged already, in one line: Django would write a stack trace for each request.
    problem._has_been_logged = True  # type: ignore[attr-defined]  # noqa: SLF001
    if not is_call(request.path):
        # Without the request: what pages have in common, such as who is logged in, is away, too.
        context = {"is_command": request.method not in _SAFE_METHODS}
        problem.content = loader.get_template("503.html").render(context).encode()
        problem["Content-Type"] = "text/html; charset=utf-8"
    return problem
