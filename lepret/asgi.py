"""What the web server serves: HTTP through Django, websockets through Channels."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable
from typing import Any, Final, cast

import django
from asgiref.sync import sync_to_async
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.sessions import CookieMiddleware
from django.core.handlers.asgi import ASGIHandler
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import re_path

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "lepret.settings")
# Before the imports below, which need Django's apps.
django.setup(set_prefix=False)

from lepret import front  # noqa: E402
from lepret.common.answer_headers import headers_on_every_answer  # noqa: E402
from lepret.common.databases import wait_no_longer_than  # noqa: E402
from lepret.common.memory import keep_memory_small  # noqa: E402
from lepret.common.origins import FromHereOnly, refuse  # noqa: E402
from lepret.common.turns import current_turn  # noqa: E402
from readmodels.urls import websocket_urlpatterns  # noqa: E402

# Thresholds of CPython's garbage collector, which are 700, 10 and 10 by default. With larger ones
# than these, what an error has left behind in cycles would stay for a thousand requests.
_COLLECT_AFTER: Final = (10_000, 10, 10)
# How long a thread may go on while others want to, in seconds, which is 0.005 by default. A request
# goes back and forth between the event loop and its thread, and waits each time for another's.
_SWITCH_AFTER: Final = 0.001
# How long a request waits for a database that is silent, in seconds; the slowest search takes less.
_LONGEST_WAIT: Final = 10.0


class OneThreadHandler(ASGIHandler):
    """Runs all middleware and the view of a request in one thread.

    Django's own handler switches between the event loop and the thread at each middleware, which
    took a third of a request's time.
    """

    def load_middleware(self, is_async: bool = False) -> None:
        super().load_middleware(is_async=False)

    async def get_response_async(self, request: HttpRequest) -> HttpResponseBase:
        turn = current_turn.get()
        if turn is None:
            response: HttpResponseBase = await sync_to_async(self._respond)(request)
            return response
        release = turn.hold()
        has_begun = False

        def respond() -> HttpResponseBase:
            nonlocal has_begun
            has_begun = True
            try:
                return self._respond(request)
            finally:
                release()

        try:
            return await sync_to_async(respond)()
        finally:
            # If the client has left, this is cancelled. The thread goes on, and keeps the turn.
            if not has_begun:
                release()

    def _respond(self, request: HttpRequest) -> HttpResponseBase:
        get_response: Callable[[HttpRequest], Any] = self.get_response
        response: HttpResponseBase = get_response(request)
        return response


def _collect_garbage_less_often() -> None:
    """Exempt the modules loaded so far from collection, and collect the rest less often.

    A full collection delays every request that is being served.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_COLLECT_AFTER)


# Channels answers a path without a route with a 500.
_no_such_websocket = re_path("", cast(Any, refuse))

application = ProtocolTypeRouter(
    {
        "http": headers_on_every_answer(OneThreadHandler()),
        "websocket": FromHereOnly(
            CookieMiddleware(URLRouter([*websocket_urlpatterns, _no_such_websocket]))
        ),
    }
)

front.install()
wait_no_longer_than(_LONGEST_WAIT)
keep_memory_small()
sys.setswitchinterval(_SWITCH_AFTER)
_collect_garbage_less_often()
