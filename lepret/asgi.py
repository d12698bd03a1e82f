"""What the web server serves: HTTP through Django, websockets through Channels."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from typing import Any, Final

import django
from asgiref.sync import sync_to_async
from channels.auth import AuthMiddlewareStack
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from django.core.handlers.asgi import ASGIHandler
from django.http import HttpRequest
from django.http.response import HttpResponseBase

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "lepret.settings")
# Before the imports below, which need Django's apps.
django.setup(set_prefix=False)

from lepret.common.answer_headers import headers_on_every_answer  # noqa: E402
from readmodels.urls import websocket_urlpatterns  # noqa: E402

# Thresholds of CPython's garbage collector, which are 700, 10 and 10 by default.
_COLLECT_AFTER: Final = (20_000, 50, 100)


class OneThreadHandler(ASGIHandler):
    """Runs all middleware and the view of a request in one thread.

    Django's own handler switches between the event loop and the thread at each middleware, which
    took a third of a request's time.
    """

    def load_middleware(self, is_async: bool = False) -> None:
        super().load_middleware(is_async=False)

    async def get_response_async(self, request: HttpRequest) -> HttpResponseBase:
        get_response: Callable[[HttpRequest], Any] = self.get_response
        response: HttpResponseBase = await sync_to_async(get_response, thread_sensitive=True)(
            request
        )
        return response


def _collect_garbage_less_often() -> None:
    """Exempt the modules loaded so far from collection, and collect the rest less often.

    A full collection delays every request that is being served.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_COLLECT_AFTER)


application = ProtocolTypeRouter(
    {
        "http": headers_on_every_answer(OneThreadHandler()),
        "websocket": AllowedHostsOriginValidator(
            AuthMiddlewareStack(URLRouter(websocket_urlpatterns))
        ),
    }
)

_collect_garbage_less_often()
