"""Forms are UTF-8, as browsers send them from pages in UTF-8."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from django.http import HttpRequest, HttpResponse, HttpResponseBadRequest

_UTF_8: Final = ("utf-8", "utf8")
_FORMS: Final = ("multipart/form-data", "application/x-www-form-urlencoded")


def refuse_other_charsets(
    get_response: Callable[[HttpRequest], HttpResponse],
) -> Callable[[HttpRequest], HttpResponse]:
    """Middleware that answers a form in another charset with 400.

    Django decodes multipart forms with any of Python's codecs: some raise, and some make text that
    can be neither hashed nor stored. Other forms it refuses itself, but it reads them once more to
    say so, and then answers 500.
    """

    def middleware(request: HttpRequest) -> HttpResponse:
        charset = (request.content_params or {}).get("charset", "utf-8")
        if request.content_type in _FORMS and charset.lower() not in _UTF_8:
            return HttpResponseBadRequest("Send forms in UTF-8.", content_type="text/plain")
        return get_response(request)

    return middleware
