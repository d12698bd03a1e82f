"""What people write into the addresses and forms of Django's admin, and cannot be looked for."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final

from django.core.exceptions import BadRequest, FieldError, ValidationError
from django.db import DataError
from django.db.models.constants import LOOKUP_SEP
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.views.defaults import bad_request

from lepret.common.error_places import type_and_place

logger = logging.getLogger(__name__)

# What Django, Python's dates and the databases raise for values that are none of a column's.
_CANNOT_BE_LOOKED_FOR: Final = (
    DataError,
    FieldError,
    OverflowError,
    TypeError,
    ValidationError,
    ValueError,
)
# Django lets an address filter by any lookup of a column. An expression may take hours to match,
# and of a range in an address Django makes invalid SQL: one end for each character.
_REFUSED: Final = frozenset({"regex", "iregex", "range"})


class AdminInput:
    """Middleware that answers such a request to admin with 400.

    Lists read what an address asks for in many places: as they filter, count, sort and offer dates,
    and while the page is written. Admin redirects for some of the errors in some of them; otherwise
    the answer would be 500.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        return self._get_response(request)

    def process_view(self, request: HttpRequest, *_: Any) -> HttpResponse | None:
        if _is_admin(request) and any(map(_is_refused, request.GET)):
            return bad_request(request, BadRequest())
        return None

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        if not _is_admin(request) or not isinstance(error, _CANNOT_BE_LOOKED_FOR):
            return None
        # At this level, since it may be a mistake of ours after all.
        logger.error("A request to admin cannot be answered: %s", type_and_place(error))
        return bad_request(request, error)


def _is_admin(request: HttpRequest) -> bool:
    return request.resolver_match is not None and request.resolver_match.app_name == "admin"


def _is_refused(key: str) -> bool:
    return not _REFUSED.isdisjoint(key.split(LOOKUP_SEP))
