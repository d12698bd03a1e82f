"""Forms that cannot be read are answered in one place, before anything tries to read them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from django.core.exceptions import RequestDataTooBig, TooManyFieldsSent, TooManyFilesSent
from django.http import HttpRequest, HttpResponse
from django.http.multipartparser import MultiPartParserError

_UTF_8: Final = ("utf-8", "utf8")
_FORMS: Final = ("multipart/form-data", "application/x-www-form-urlencoded")


def refuse_unreadable_forms(
    get_response: Callable[[HttpRequest], HttpResponse],
) -> Callable[[HttpRequest], HttpResponse]:
    """Middleware that answers a form that cannot be read with 400 or 413.

    Django reads a form when it looks for its token, for some answers to errors too, such as 404:
    then it would answer 500. And it decodes multipart forms with any of Python's codecs: some
    raise, and some make text that can be neither hashed nor stored.
    """

    def middleware(request: HttpRequest) -> HttpResponse:
        # The API takes no forms, and says so.
        if request.content_type not in _FORMS or request.path.startswith("/api/"):
            return get_response(request)
        charset = (request.content_params or {}).get("charset", "utf-8")
        if charset.lower() not in _UTF_8:
            return _refusal("Send forms in UTF-8.")
        try:
            request.POST  # noqa: B018 (it is read here)
        except MultiPartParserError:
            return _refusal("The form cannot be read.")
        except (TooManyFieldsSent, TooManyFilesSent):
            return _refusal(
                "The form has too many fields, or files, of which no form here has any."
            )
        except RequestDataTooBig:
            return _refusal("The form is too large.", status=413)
        return get_response(request)

    return middleware


def _refusal(detail: str, *, status: int = 400) -> HttpResponse:
    return HttpResponse(f"{detail}\n", status=status, content_type="text/plain; charset=utf-8")
