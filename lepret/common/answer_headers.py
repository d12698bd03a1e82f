"""The headers that every answer has, whatever made it.

Django sets most of them. This sets the rest, and all of them on answers that are made outside of
Django's middleware, such as that to a request which cannot be read.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from functools import cache
from typing import Any, Final

from csp.constants import HEADER as CONTENT_SECURITY_POLICY
from csp.utils import build_policy
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.middleware.clickjacking import XFrameOptionsMiddleware
from django.middleware.security import SecurityMiddleware

GetResponse = Callable[[HttpRequest], HttpResponseBase]
AsgiApplication = Callable[[Any, Any, Any], Awaitable[None]]
RawHeaders = list[tuple[bytes, bytes]]

# What a page could ask a browser for. The pages here need none of it.
_FEATURES: Final = (
    "accelerometer",
    "autoplay",
    "browsing-topics",
    "camera",
    "clipboard-read",
    "display-capture",
    "encrypted-media",
    "fullscreen",
    "geolocation",
    "gyroscope",
    "hid",
    "idle-detection",
    "local-fonts",
    "magnetometer",
    "microphone",
    "midi",
    "payment",
    "picture-in-picture",
    "publickey-credentials-create",
    "publickey-credentials-get",
    "screen-wake-lock",
    "serial",
    "storage-access",
    "usb",
    "window-management",
    "xr-spatial-tracking",
)
PERMISSIONS_POLICY: Final = ", ".join(f"{feature}=()" for feature in _FEATURES)
# It is the same for all; django-csp's middleware would put it together anew for each answer.
_content_security_policy: Final = cache(build_policy)


def answer_headers(get_response: GetResponse) -> GetResponse:
    """Middleware that sets what other middleware does not."""

    def middleware(request: HttpRequest) -> HttpResponseBase:
        response = get_response(request)
        _complete(response)
        return response

    return middleware


def headers_on_every_answer(application: AsgiApplication) -> AsgiApplication:
    """An ASGI application whose answers have the headers even where no middleware has run."""

    async def wrapped(scope: Any, receive: Any, send: Any) -> None:
        async def send_with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": _completed(message.get("headers", ()))}
            await send(message)

        await application(scope, receive, send_with_headers)

    return wrapped


def _complete(response: HttpResponseBase) -> None:
    response.headers.setdefault(CONTENT_SECURITY_POLICY, _content_security_policy())
    response.headers.setdefault("Permissions-Policy", PERMISSIONS_POLICY)
    response.headers.setdefault("Cross-Origin-Resource-Policy", "same-origin")
    # Whatever may be kept says so itself. All else may be about a person.
    response.headers.setdefault("Cache-Control", "no-store")


def _completed(headers: Iterable[tuple[bytes, bytes]]) -> RawHeaders:
    given = [(bytes(name), bytes(value)) for name, value in headers]
    names = {name.lower() for name, _ in given}
    if b"permissions-policy" in names:  # It went through the middleware.
        return given
    return given + [each for each in headers_of_any_answer() if each[0].lower() not in names]


@cache
def headers_of_any_answer() -> RawHeaders:
    """The headers that every answer has; over HTTPS, the middleware adds HSTS."""
    request, response = HttpRequest(), HttpResponse()
    del response["Content-Type"]
    for kind in (SecurityMiddleware, XFrameOptionsMiddleware):
        kind(lambda _: response).process_response(request, response)
    _complete(response)
    return [(name.encode("ascii"), value.encode("latin-1")) for name, value in response.items()]
