"""Whether a request, or a websocket, comes from a page of this site."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from io import BytesIO
from typing import Any, Final
from urllib.parse import urlsplit

from django.conf import settings
from django.core.exceptions import DisallowedHost
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest
from django.utils.http import is_same_domain

logger = logging.getLogger(__name__)

_LONGEST_LOGGED: Final = 100

Application = Callable[[Any, Any, Any], Awaitable[Any]]


def is_from_here(request: HttpRequest) -> bool:
    """Whether a page of this site, or of one of `CSRF_TRUSTED_ORIGINS`, has sent the request.

    Scheme, host and port are compared (RFC 6454). Without an `Origin` nobody knows.

    Raises:
        DisallowedHost: the request is for none of `ALLOWED_HOSTS`.
    """
    here = f"{request.scheme}://{request.get_host()}"
    origin = request.headers.get("Origin", "")
    return origin == here or any(_is_of(origin, each) for each in settings.CSRF_TRUSTED_ORIGINS)


def _is_of(origin: str, trusted: str) -> bool:
    try:
        found, wanted = urlsplit(origin), urlsplit(trusted)
    except ValueError:
        return False
    # `https://*.example.com` trusts all subdomains.
    return found.scheme == wanted.scheme and is_same_domain(
        found.netloc, wanted.netloc.removeprefix("*")
    )


async def refuse(scope: Any, receive: Any, send: Any) -> None:
    """The application of a websocket that is refused in its handshake.

    Unlike Channels' own, it needs no channel layer.
    """
    await receive()
    await send({"type": "websocket.close"})


class FromHereOnly:
    """Refuses websockets that were not opened by a page from here.

    Browsers let any site open a websocket, with the user's cookies, and always say which site it
    is (RFC 6455, section 10.2). A client that does not say is refused too.
    """

    _SCHEMES: Final = {"ws": "http", "wss": "https"}

    def __init__(self, application: Application) -> None:
        self._application = application

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        served = self._application if self._is_from_here(scope) else refuse
        await served(scope, receive, send)

    def _is_from_here(self, scope: Any) -> bool:
        scheme = self._SCHEMES[scope.get("scheme", "ws")]
        handshake = ASGIRequest({**scope, "method": "GET", "scheme": scheme}, BytesIO())
        try:
            is_allowed = is_from_here(handshake)
        except DisallowedHost:
            is_allowed = False
        if not is_allowed:
            # Also a proxy that changes `Host`, or sets no `X-Forwarded-Proto`, leads here.
            logger.warning(
                "Refused a websocket to %r from %r",
                f"{handshake.scheme}://{handshake.headers.get('Host', '')[:_LONGEST_LOGGED]}",
                handshake.headers.get("Origin", "")[:_LONGEST_LOGGED],
            )
        return is_allowed
