"""Forms that cannot be read are answered in one place, before anything tries to read them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from django.core.exceptions import RequestDataTooBig, TooManyFieldsSent, TooManyFilesSent
from django.http import HttpRequest, HttpResponse
from django.http.multipartparser import MultiPartParserError

from lepret.common.api_calls import is_call
from lepret.common.content_codings import ACCEPT_ENCODING, is_encoded

_UTF_8: Final = ("utf-8", "utf8")
_FORMS: Final = ("multipart/form-data", "application/x-www-form-urlencoded")


def refuse_unreadable_forms(
    get_response: Callable[[HttpRequest], HttpResponse],
) -> Callable[[HttpRequest], HttpResponse]:
    """Middleware that answers a form that cannot be read with 400, 413 or 415.

    Django reads a form when it looks for its token, for some answers to errors too, such as 404:
    then it would answer 500. And it decodes multipart forms with any of Python's codecs: some
    raise, and some make text that can be neither hashed nor stored.
    """

    def middleware(request: HttpRequest) -> HttpResponse:
        # The API takes no forms, and says so.
        is_form = request.content_type in _FORMS and not is_call(request.path)
        refusal = _refusal_of(request) if is_form else None
        return get_response(request) if refusal is None else refusal

    return middleware


def _refusal_of(request: HttpRequest) -> HttpResponse | None:
    if is_encoded(request):
        return _refusal("Send forms uncompressed.", status=415, headers=ACCEPT_ENCODING)
    charset = (request.content_params or {}).get("charset", "utf-8")
    if charset.lower() not in _UTF_8:
        return _refusal("Send forms in UTF-8.")
    try:
        request.POST  # noqa: B018 (it is read here)
    except MultiPartParserError:
        return _refusal("The form cannot be read.")
    except (TooManyFieldsSent, TooManyFilesSent):
        return _refusal("The form has too many fields, or files, of which no form here has any.")
    except RequestDataTooBig:
        return _refusal("The form is too large.", status=413)
    return None


def _refusal(
    detail: str, *, status: int = 400, headers: Mapping[str, str] | None = None
) -> HttpResponse:
    plain_text = "text/plain; charset=utf-8"
    return HttpResponse(f"{detail}\n", status=status, content_type=plain_text, headers=headers)
