"""Every address of the site, as the URLconf has them, so that no test forgets a new one."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from django.urls import URLPattern, URLResolver, get_resolver

_PARAMETER = re.compile(r"<(?:\w+:)?(\w+)>")
# Two addresses of Django's admin are regular expressions.
_REGULAR_EXPRESSIONS = {
    "admin/^(?P<app_label>lepret|auth|readmodels)/$": "admin/<app_label>/",
    "admin/(?P<url>.*)$": "admin/<url>",
}


def addresses() -> list[str]:
    """The addresses, such as `/loans/<loan_request_id>/`."""
    routes = (_REGULAR_EXPRESSIONS.get(each, each) for each in _routes(get_resolver()))
    return ["/" + _PARAMETER.sub(r"<\1>", route) for route in routes]


def filled_in(address: str, value_of: Callable[[str], Any]) -> str:
    """A path of this address; `value_of` gives the value for each parameter's name."""
    path = _PARAMETER.sub(lambda match: str(value_of(match[1])), address)
    assert not re.search(r"[\^$?*\\]", path), (
        f"{address} is a regular expression: add a path for it"
    )
    return path


def _routes(resolver: URLResolver, before: str = "") -> Iterator[str]:
    for each in resolver.url_patterns:
        route = f"{before}{each.pattern}"
        if isinstance(each, URLPattern):
            yield route
        else:
            yield from _routes(each, route)
